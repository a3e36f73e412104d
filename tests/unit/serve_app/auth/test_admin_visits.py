"""Administrators in other people's sessions are noted once a while."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import connect

from serve_app.auth.admin_visits import AGAIN_SECONDS, AdminVisits
from tests.fakes.ingress_fakes import ADMIN_EMAIL
from tests.support.waiting import wait_until


def test_an_entry_is_new_again_after_a_while_or_by_another_login():
    now = 0.0
    entries = AdminVisits(lambda: now)
    assert entries.is_new("login", "s1")
    assert not entries.is_new("login", "s1")
    assert entries.is_new("login", "s2")
    assert entries.is_new("another", "s1")
    now = AGAIN_SECONDS - 1
    assert not entries.is_new("login", "s1"), "who stays has not come back"
    now = 2 * AGAIN_SECONDS
    assert entries.is_new("login", "s1")


async def test_an_administrator_who_enters_anothers_session_is_noted_once(rig, ada, admin):
    [mine] = await ada.sessions()
    await admin.session(mine.session_id)
    await admin.session(mine.session_id)
    await admin.session((await admin.sessions())[0].session_id)
    await ada.session(mine.session_id)

    async def entries() -> list[tuple[str, str]]:
        kept = (await rig.http(admin).get("/api/admin/audit")).json()["entries"]
        return [(e["user_id"], e["resource"]) for e in kept if e["action"] == "session.entered"]

    who = (await admin.me()).user_id
    found = await wait_until(entries, bool)
    assert found == [(who, f"session/{mine.session_id}")]
    url = f"ws{rig.url.removeprefix('http')}/api/v1/sessions/{mine.session_id}/events"
    back = await rig.sign_in(ADMIN_EMAIL)
    await socket(url, additional_headers={"authorization": f"Bearer {back.access_token}"})
    await wait_until(entries, lambda seen: len(seen) == 2)
    await back.close()


async def socket(url: str, **options) -> str:
    async with connect(url, **options) as open_socket:
        return str(await asyncio.wait_for(open_socket.recv(), 60))
