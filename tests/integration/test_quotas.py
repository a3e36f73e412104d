"""Each quota on a real server: exceeded, reported, and over once something is deleted or the limit raised."""

from __future__ import annotations

import json

import pytest
from websockets.asyncio.client import connect

from coditect import NotFound, QuotaExceeded
from tests.support.waiting import wait_until

pytestmark = pytest.mark.ray

KIB = 1 << 10


async def limit(admin, person, **limits):
    user_id = (await person.client.me()).user_id
    return await admin.set_quotas(user_id, **limits)


async def is_kept(client, session_id: str, path: str) -> bool:
    try:
        return bool(await client.history(session_id, path))
    except NotFound:
        return False


async def test_files_beyond_the_quota_are_refused_or_reported_as_not_archived(
    admin, person, server
):
    client, session_id = person.client, person.session_id
    await limit(admin, person, file_bytes=100 * KIB)
    await client.write_file(session_id, "kept", b"k" * 80 * KIB)
    with pytest.raises(QuotaExceeded) as refused:
        await client.write_file(session_id, "more", b"m" * 50 * KIB)
    assert (refused.value.status, refused.value.resource) == (507, "file_bytes")
    assert {e.name for e in await client.tree(session_id)} == {"kept"}

    address = f"{server.url.replace('http', 'ws')}/api/v1/sessions/{session_id}/events"
    headers = {"authorization": f"Bearer {client.access_token}"}
    async with connect(address, additional_headers=headers) as events:
        script = "head -c 60000 /dev/urandom > made; echo small > small"
        assert (await client.exec(session_id, ["sh", "-c", script])).exit_code == 0
        frame = await _unarchived(events)
        assert (frame["resource"], frame["paths"], frame["size"]) == ("file_bytes", 1, 60_000)
        session = await client.session(session_id)
        assert (session.unarchived.paths, session.unarchived.size) == (1, 60_000)
        assert session.usage.file_bytes.used <= session.usage.file_bytes.limit == 100 * KIB
        await wait_until(lambda: is_kept(client, session_id, "small"))
        assert not await is_kept(client, session_id, "made")

        await client.delete_file(session_id, "kept")
        assert await _unarchived(events) == {}
    assert (await client.history(session_id, "made"))[0].size == 60_000
    assert (await client.session(session_id)).unarchived is None


async def _unarchived(events) -> dict:
    while True:
        frame = json.loads(await events.recv())
        if frame["type"] == "unarchived":
            return frame["data"]


async def test_containers_beyond_the_quota_are_refused_and_come_when_there_is_a_place(
    admin, person
):
    client, first = person.client, person.session_id
    await client.exec(first, ["true"])
    await limit(admin, person, containers=1)
    with pytest.raises(QuotaExceeded) as refused:
        await client.open_session("second")
    assert refused.value.status == 409
    assert refused.value.sessions == ["default"]
    await client.hibernate(first)
    second = await client.open_session("second")
    assert (await client.exec(second.session_id, ["echo", "here"])).stdout == "here\n"
    with pytest.raises(QuotaExceeded) as refused:
        await client.resume(first)
    assert refused.value.sessions == ["second"]
    await limit(admin, person, containers=None)
    await client.resume(first)
    assert (await client.exec(first, ["echo", "back"])).stdout == "back\n"
    await client.end_session(second.session_id)


async def test_output_beyond_the_quota_loses_its_oldest_and_the_shell_goes_on(admin, person):
    client, session_id = person.client, person.session_id
    await limit(admin, person, journal_bytes=64 * KIB)

    async def output() -> bytes:
        return b"".join([part async for part in client.output(session_id)])

    async with await client.terminal(session_id, "main") as terminal:
        await terminal.send("head -c 300000 /dev/zero | tr '\\0' x; echo; echo do''ne\r")
        await terminal.read_until(b"done")
        kept = await wait_until(output, lambda found: len(found) <= 64 * KIB)
        assert b"done" in kept
        await limit(admin, person, journal_bytes=0)
        await terminal.send("head -c 150000 /dev/zero | tr '\\0' y; echo; echo mo''re\r")
        await terminal.read_until(b"more")
        assert len(await output()) > 150_000
    usage = (await client.me()).usage
    assert usage.journal_bytes.limit is None
    assert usage.journal_bytes.used > 150_000
