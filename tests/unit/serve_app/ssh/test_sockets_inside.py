"""Unix sockets of a workspace over SSH, both ways, and the client's agent, which is one."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh
import pytest

SAY = (
    "import os, socket; s = socket.socket(socket.AF_UNIX); s.connect({path}); "
    "s.sendall(b'asked'); s.shutdown(1); print(s.recv(99).decode())"
)


async def answered(reader: Any, writer: Any) -> None:
    writer.write(b"got " + await reader.read())
    writer.close()


async def test_a_socket_inside_is_reached_and_one_that_is_not_there_is_said(connect, tmp_path):
    path = str(tmp_path / "inside.sock")
    server = await asyncio.start_unix_server(answered, path)
    async with server, connect() as client:
        reader, writer = await client.open_unix_connection(path)
        writer.write(b"x" * 300_000)
        writer.write_eof()
        assert len(await reader.read()) == 300_004
        for missing in (path + ".not", "x" * 200):
            with pytest.raises(asyncssh.ChannelOpenError):
                await client.open_unix_connection(missing)


async def test_a_socket_inside_leads_to_the_client_and_goes_with_it(connect, tmp_path):
    path = str(tmp_path / "theirs.sock")
    outside = str(tmp_path / "outside.sock")
    server = await asyncio.start_unix_server(answered, outside)
    async with server, connect() as client:
        listener = await client.forward_remote_path(path, outside)
        done = await client.run(f'python3 -c "{SAY.format(path=repr(path))}"')
        assert (done.stdout, done.stderr) == ("got asked\n", "")
        with pytest.raises(asyncssh.ChannelListenError):  # somebody listens there
            await client.forward_remote_path(path, outside)
        listener.close()
        await listener.wait_closed()
        gone = await client.run(
            f"for i in $(seq 200); do [ -e {path} ] || exit 0; sleep 0.1; done; exit 1"
        )
        assert gone.exit_status == 0


async def test_the_clients_agent_is_there_for_who_asks_and_for_nobody_else(connect, tmp_path):
    agent = str(tmp_path / "agent.sock")

    async def keyless(reader: Any, writer: Any) -> None:
        """Answer each question with an empty list of keys (draft-ietf-sshm-ssh-agent)."""
        while size := await reader.read(4):
            await reader.readexactly(int.from_bytes(size, "big"))
            writer.write(b"\0\0\0\5\x0c\0\0\0\0")
        writer.close()

    server = await asyncio.start_unix_server(keyless, agent)
    ask = (
        "python3 - <<'END'\nimport os, socket\ns = socket.socket(socket.AF_UNIX)\n"
        "s.connect(os.environ['SSH_AUTH_SOCK'])\ns.sendall(bytes([0, 0, 0, 1, 11]))\n"
        "print(s.recv(9, socket.MSG_WAITALL).hex())\nEND\n"
    )
    async with server:
        async with connect() as client:
            assert (await client.run("echo ${SSH_AUTH_SOCK-none}")).stdout == "none\n"
        async with connect(agent_path=agent, agent_forwarding=True) as client:
            for _ in range(2):
                done = await client.run(ask)
                assert (done.stdout, done.stderr) == ("000000050c00000000\n", "")
            paths = {(await client.run("echo $SSH_AUTH_SOCK")).stdout for _ in range(2)}
            assert len(paths) == 1
            (path,) = paths
            private = await client.run(f"stat -c %a {path.strip()} $(dirname {path})")
            assert private.stdout.split() == ["600", "700"]


async def test_x11_is_refused(connect):
    async with connect() as client:
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.run("true", x11_forwarding=True, x11_display="localhost:10")
