"""Packs of the chunk store are lost with a workspace's directory: the API names the files that wait."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coditect import ApiError, AsyncClient, ClientError, ConnectionFailed, NotFound
from tests.support.server_process import ServerProcess
from tests.support.waiting import wait_until

pytestmark = pytest.mark.ray

CONTENTS = {
    "whole": random.Random(1).randbytes(600_000),
    "gone": random.Random(2).randbytes(2_800_000),
    "d/damaged": random.Random(3).randbytes(12 << 20),
}


async def test_what_is_lost_is_reported_and_all_the_rest_is_there(person, server):
    client, session_id = person.client, person.session_id
    client.retry_seconds = 0
    packs, versions = await saved(client, session_id, server)
    whole = {pack: pack.read_bytes() for pack in packs["gone"]}
    async with watched(client, session_id, "gone") as reported:
        await lose(client, session_id, server, packs)
        await client.resume(session_id)
        await wait_until(lambda: unrestored(client, session_id), {"gone", "d/damaged"}.__eq__)
    assert reported <= {"content_missing"}
    assert await client.read_file(session_id, "whole") == CONTENTS["whole"]

    for name in ("gone", "d/damaged"):
        await is_refused(name, client.read_file(session_id, name))
        await is_refused(name, client.move(session_id, name, "elsewhere"))
    await is_refused("gone", client.read_file(session_id, "gone", version=versions["gone"]))
    await is_refused(
        "gone", client.restore_file(session_id, "gone", versions["gone"], target="again")
    )
    with pytest.raises(ClientError):  # it breaks off in the middle
        await client.read_file(session_id, "d/damaged", version=versions["d/damaged"])
    with pytest.raises(NotFound):
        await client.read_file(session_id, "never")

    for pack, data in whole.items():
        pack.write_bytes(data)
    await client.delete_file(session_id, "d", recursive=True)  # with what is not there
    await wait_until(lambda: unrestored(client, session_id), set().__eq__, 90)
    assert await client.read_file(session_id, "gone") == CONTENTS["gone"]
    with pytest.raises(NotFound):
        await client.read_file(session_id, "d/damaged")


async def saved(client: AsyncClient, session_id: str, server: ServerProcess):
    """Save the files; return the packs that each may lie in, and their versions.

    A round may read a file beside its save: then both make a pack, one of which counts.
    """
    packs: dict[str, list[Path]] = {}
    versions: dict[str, int] = {}
    for name, data in CONTENTS.items():
        before = set((server.data_dir / "chunks").glob("*/*"))
        versions[name] = (await client.write_file(session_id, name, data)).version
        made = set((server.data_dir / "chunks").glob("*/*")) - before
        packs[name] = sorted(pack for pack in made if pack.is_file())
        assert packs[name]
    return packs, versions


async def lose(
    client, session_id: str, server: ServerProcess, packs: dict[str, list[Path]]
) -> None:
    """End the container, and lose its workspace's directory and some of what was kept."""
    container_id = (await client.session(session_id)).container_id
    directory = server.workspace(container_id)
    await client.hibernate(session_id)
    shutil.rmtree(directory)
    for pack in packs["gone"]:
        pack.unlink()
    for pack in packs["d/damaged"]:
        damaged = bytearray(pack.read_bytes())
        damaged[-1] ^= 1
        pack.write_bytes(damaged)


@asynccontextmanager
async def watched(client: AsyncClient, session_id: str, name: str) -> AsyncIterator[set[str]]:
    """Read a file again and again; yield the codes of the answers that a container takes part in."""
    reported: set[str] = set()

    async def read() -> None:
        while True:
            try:
                await client.read_file(session_id, name)
            except ConnectionFailed:
                pass  # its container ended amid the answer
            except ApiError as error:
                if (error.status, error.code) not in {(503, "unavailable"), (503, "fenced")}:
                    reported.add(error.code)

    reading = asyncio.create_task(read())
    try:
        yield reported
    finally:
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):  # nothing else has ended it
            await reading


async def unrestored(client: AsyncClient, session_id: str) -> set[str]:
    reported = (await client.session(session_id)).unrestored
    return set() if reported is None else {each.path for each in reported.left_out}


async def is_refused(name: str, call) -> None:
    with pytest.raises(ApiError, match=name) as caught:
        await call
    assert (caught.value.status, caught.value.code) == (503, "content_missing")
