"""The audit trail of sign-ins."""

from __future__ import annotations

import asyncio

import httpx

from actors.core.errors.base import (
    Unavailable,
)
from actors.core.records.accounts import AuditEntry
from serve_app.auth.audit import AuditWriter
from tests.fakes.ingress_fakes import EMAIL, PASSWORD
from tests.support.waiting import wait_until


async def login(http: httpx.AsyncClient, password: str = PASSWORD, **headers: str):
    body = {"email": EMAIL, "password": password}
    return await http.post("/api/v1/auth/login", json=body, headers=headers)


async def test_the_audit_trail_records_sign_ins(rig, admin):
    await login(rig.http(), "wrong")
    http = rig.http(admin)

    async def lines() -> list[tuple[str, str]]:
        entries = (await http.get("/api/admin/audit")).json()["entries"]
        return [(entry["action"], entry["result"]) for entry in entries]

    found = await wait_until(lines, lambda seen: ("login", "refused") in seen)
    assert ("login", "ok") in found
    assert (await rig.http().get("/api/admin/audit")).status_code == 401


class FailingTrail:
    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.written: list[AuditEntry] = []

    async def append(self, entries) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("store", "away")
        self.written += entries


def entry(number: int) -> AuditEntry:
    return AuditEntry(timestamp=number, tenant_id="t", user_id=None, action="a", resource="r")


async def test_audit_entries_survive_an_outage_in_order_and_are_bounded():
    trail = FailingTrail(failures=1)
    writer = AuditWriter(trail, limit=10)
    durable = [await writer.write(entry(number), patience_seconds=0) for number in range(12)]
    assert not any(durable)
    assert writer.lost == 2
    await writer.drain()  # the outage
    await writer.drain()
    assert [written.timestamp for written in trail.written] == list(range(10))


async def test_who_is_audited_is_answered_when_the_entry_is_durable():
    trail = FailingTrail(failures=0)
    writer = AuditWriter(trail)
    running = asyncio.create_task(writer.run())
    assert await writer.write(entry(1))
    assert [written.timestamp for written in trail.written] == [1]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
