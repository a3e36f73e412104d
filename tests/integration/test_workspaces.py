"""A workspace's content survives its container's directory, on a real server."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from coditect import ClientError, NotFound
from tests.support.waiting import wait_until

pytestmark = pytest.mark.ray


async def test_a_workspace_whose_directory_is_lost_comes_back_with_its_history(person, server):
    client, session_id = person.client, person.session_id
    saved = await client.write_file(session_id, "saved", b"by the API")
    await client.write_file(session_id, "saved", b"twice")
    script = "mkdir -p d/empty && echo made > d/made && chmod 750 d/made && ln -s made d/link"
    await client.exec(session_id, ["sh", "-c", script])
    await wait_until(lambda: _is_kept(client, session_id, "d/link"))

    container_id = (await client.session(session_id)).container_id
    pid = server.containers()[container_id]
    directory = server.workspace(container_id)
    lost = directory.rename(server.data_dir / f"lost-{directory.name}")
    os.kill(pid, signal.SIGKILL)

    await wait_until(lambda: _read(client, session_id, "d/made"), lambda data: data == b"made\n")
    assert await _read(client, session_id, "saved") == b"twice"
    listed = {entry.name: entry for entry in await client.tree(session_id, "d")}
    assert listed.keys() == {"empty", "made", "link"}
    assert listed["made"].mode == 0o750
    assert listed["link"].target == "made"
    assert await client.read_file(session_id, "saved", version=saved.version) == b"by the API"
    receipt = await client.restore_file(session_id, "saved", saved.version)
    assert receipt.version > saved.version
    assert await client.read_file(session_id, "saved") == b"by the API"
    shutil.rmtree(lost)


async def _is_kept(client, session_id: str, path: str) -> bool:
    try:
        return bool(await client.history(session_id, path))
    except NotFound:
        return False


async def _read(client, session_id: str, path: str) -> bytes | None:
    try:
        return await client.read_file(session_id, path)
    except ClientError:
        return None
