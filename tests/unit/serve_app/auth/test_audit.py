"""The audit trail of sign-ins."""

from __future__ import annotations

import httpx

from tests.fakes.ingress_fakes import EMAIL, PASSWORD
from tests.support.waiting import wait_until


async def login(http: httpx.AsyncClient, password: str = PASSWORD, **headers: str):
    body = {"email": EMAIL, "password": password}
    return await http.post("/api/v1/auth/login", json=body, headers=headers)


async def test_the_audit_trail_tells_of_sign_ins(rig, admin):
    await login(rig.http(), "wrong")
    http = rig.http(admin)

    async def lines() -> list[tuple[str, str]]:
        entries = (await http.get("/api/admin/audit")).json()["entries"]
        return [(entry["action"], entry["result"]) for entry in entries]

    found = await wait_until(lines, lambda seen: ("login", "refused") in seen, 5)
    assert ("login", "ok") in found
    assert (await rig.http().get("/api/admin/audit")).status_code == 401
