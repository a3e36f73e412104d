"""Directories of five thousand levels, on a real server: every call works within its limit."""

from __future__ import annotations

import asyncio

import pytest

from coditect import AsyncClient, NotFound
from tests.support.waiting import wait_until

pytestmark = pytest.mark.ray

LEVELS, KEPT = 5000, 2000
DIG = f"""
import os
for _ in range({LEVELS}):
    os.mkdir("d")
    os.chdir("d")
open("file", "w").close()
"""
SECONDS = 40.0  # within what every client waits; on a machine that does nothing else a call takes 5


async def test_every_call_works(person):
    client, session_id = person.client, person.session_id

    async def soon(call):
        async with asyncio.timeout(SECONDS):
            return await call

    result = await client.exec(session_id, ["python3", "-c", DIG])
    assert result.exit_code == 0, result.stderr
    await soon(client.write_file(session_id, "beside", b"saved meanwhile"))
    bottom = "/".join("d" * LEVELS)
    assert [entry.name for entry in await soon(client.tree(session_id, bottom))] == ["file"]
    assert await soon(client.read_file(session_id, f"{bottom}/file")) == b""
    await soon(client.delete_file(session_id, "d", recursive=True))
    with pytest.raises(NotFound):
        await client.tree(session_id, "d")

    assert await soon(client.make_directory(session_id, "/".join("e" * LEVELS)))
    kept = "/".join("e" * (KEPT - 100)) + "/file"
    receipt = await soon(client.write_file(session_id, kept, b"deep"))
    assert receipt.durable
    receipt = await soon(client.write_file(session_id, "/".join("e" * LEVELS) + "/f", b"deeper"))
    assert (receipt.durable, receipt.reason) == (False, "path_too_long")
    await soon(client.move(session_id, "e", "f"))
    await soon(client.delete_file(session_id, "f", recursive=True))
    await soon(client.write_file(session_id, "beside", b"and again"))
    await wait_until(lambda: kept_files(client, session_id), {"beside"}.__eq__)


async def kept_files(client: AsyncClient, session_id: str) -> set[str]:
    """Return which of the names are archived now."""
    found = set()
    for name in ("beside", "d", "e", "f"):
        try:
            newest = (await client.history(session_id, name))[0]
        except NotFound:
            continue
        if newest.type != "deleted":
            found.add(name)
    return found
