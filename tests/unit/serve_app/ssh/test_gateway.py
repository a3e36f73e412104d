"""The gateway with real containers' CODI: who is let in, what runs, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncssh
import pytest

from coditect import ConnectionFailed
from serve_app.ssh import connection as connections
from serve_app.ssh.door import Door
from serve_app.ssh.seats import Seats
from serve_app.ssh.visit import MAX_CHANNELS
from tests.fakes.ingress_fakes import EMAIL
from tests.support.waiting import wait_until
from tests.unit.serve_app.ssh.conftest import KEY, raised

STRANGER = asyncssh.generate_private_key("ssh-ed25519")


async def test_a_program_has_its_streams_apart_and_its_exact_end(connect):
    async with connect() as client:
        done = await client.run("printf out; printf err >&2; exit 7", encoding=None)
        assert (done.stdout, done.stderr, done.exit_status) == (b"out", b"err", 7)
        killed = await client.run("kill -TERM $$")
        assert killed.exit_signal[0] == "TERM"
        every = bytes(range(256)) * 5000
        echoed = await client.run("cat", input=every, encoding=None)
        assert echoed.stdout == every
        assert (await client.run("true")).exit_status == 0


async def test_a_terminal_follows_the_window_and_its_shell_is_a_login_shell(connect):
    async with connect() as client:
        process = await client.create_process(
            term_type="xterm", term_size=(101, 33), encoding="utf-8"
        )
        process.stdin.write("stty size; echo $0 $TERM $COLUMNS; echo rea''dy\n")
        seen = await process.stdout.readuntil("\nready")
        assert "33 101" in seen
        assert " xterm" in seen
        process.change_terminal_size(77, 22)
        process.stdin.write("stty size; exit 3\n")
        assert "22 77" in await process.stdout.read()
        await process.wait_closed()
        assert process.exit_status == 3


async def test_variables_are_those_that_do_no_harm(connect):
    sent = {"LC_ALL": "C", "LANG": "C.UTF-8", "LD_PRELOAD": "/tmp/evil.so", "PATH": "/tmp"}
    async with connect() as client:
        seen = (await client.run("env", env=sent)).stdout.splitlines()
        assert {"LC_ALL=C", "LANG=C.UTF-8"} <= set(seen)
        assert not any(line.startswith("LD_PRELOAD") or line == "PATH=/tmp" for line in seen)


async def test_a_thousand_variables_are_not_kept(connect):
    many = {f"LC_{number}": "x" for number in range(1000)}
    async with connect() as client:
        done = await client.run("env | grep -c ^LC_", env=many)
        assert 0 < int(done.stdout) <= connections.MAX_VARIABLES


async def test_a_refusal_takes_as_long_whatever_was_looked_up(spoken, known, monkeypatch):
    waited: list[float] = []
    clock = spoken.rig.deps.clock

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    moments = iter([10.0, 10.01, 20.0, 20.034, 30.0, 30.07])
    monkeypatch.setattr(clock, "sleep", sleep)
    monkeypatch.setattr(clock, "monotonic", lambda: next(moments))
    door = Door(spoken.rig.app.state.ingress, Seats(1, 1), None, lambda _door: None)
    for user in (EMAIL, "nobody@example.com", "work/nobody@example.com"):
        assert not await door.validate_public_key(user, STRANGER)
    assert waited == pytest.approx([0.04, 0.016, 0.03])


async def test_a_session_is_named_by_its_id_or_by_its_account(spoken, ada, known, session_id):
    other = await ada.open_session("work")
    for user, meant in (
        (session_id, session_id),
        (EMAIL, session_id),
        (f"work/{EMAIL}", other.session_id),
        (other.session_id, other.session_id),
    ):
        async with spoken.connect(user) as client:
            await client.run("echo >seen")
        assert await ada.read_file(meant, "seen") == b"\n", user
        await ada.delete_file(meant, "seen")


async def test_whoever_has_no_key_of_the_account_is_told_nothing_of_its_sessions(
    spoken, admin, known, session_id
):
    theirs = (await admin.sessions())[0].session_id
    for user, key in (
        (session_id, STRANGER),
        (theirs, KEY),
        ("admin@example.com", KEY),
        ("nobody@example.com", KEY),
        (f"nothing/{EMAIL}", KEY),
        ("s-nothing", KEY),
        ("", KEY),
        ("@", KEY),
    ):
        with pytest.raises(asyncssh.PermissionDenied):
            async with spoken.connect(user, key):
                pass


async def test_a_key_that_is_at_two_accounts_opens_each_ones_own_sessions(
    spoken, ada, admin, known, session_id
):
    await admin.add_ssh_key(KEY.export_public_key().decode())
    theirs = (await admin.sessions())[0].session_id
    for meant, client_of in ((session_id, ada), (theirs, admin)):
        async with spoken.connect(meant) as client:
            await client.run("echo >mine")
        assert await client_of.read_file(meant, "mine") == b"\n"


async def test_showing_a_key_that_would_do_lets_nobody_in(spoken, rig, known, session_id):
    door = Door(rig.app.state.ingress, Seats(9, 9), None, lambda _: None)
    assert await door.validate_public_key(session_id, KEY)
    assert door.begin_auth("another name")
    assert door.begin_auth(session_id)


async def test_a_removed_key_ends_what_was_signed_in_by_it(connect, ada, known):
    async with connect() as client:
        [listed] = await ada.ssh_keys()
        assert listed.last_used_at is not None or (await client.run("true")).exit_status == 0
        running = await client.create_process("sleep 100")
        await ada.remove_ssh_key(known)
        await raised(client)
        assert running.is_closing()
    with pytest.raises(asyncssh.PermissionDenied):
        async with connect():
            pass


async def test_a_disabled_account_is_thrown_out(connect, admin, ada):
    async with connect() as client:
        await client.run("true")
        me = await ada.me()
        await admin.disable_user(me.user_id)
        await raised(client)


async def test_the_sessions_end_is_said(connect, ada, session_id):
    async with connect() as client:
        await client.run("true")
        await ada.end_session(session_id)
        await raised(client)


async def test_a_program_whose_container_dies_ends_with_a_word_and_the_next_runs(
    connect, rig, session_id
):
    async with connect() as client:
        process = await client.create_process("echo up; sleep 100")
        assert await process.stdout.readline() == "up\n"
        await rig.kill_container(session_id)
        done = await asyncio.wait_for(process.wait(), 60)
        assert done.exit_status == 255
        assert "container has ended" in done.stderr
        assert (await client.run("echo again")).stdout == "again\n"


async def test_a_thousand_channels_are_refused_beyond_a_bound(connect):
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, connect() as client:
        asked = (client.open_connection("localhost", port) for _ in range(1000))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        opened = [each for each in answers if isinstance(each, tuple)]
        refused = [each.code for each in answers if isinstance(each, asyncssh.ChannelOpenError)]
        assert len(opened) == MAX_CHANNELS
        assert refused == [asyncssh.OPEN_RESOURCE_SHORTAGE] * (1000 - MAX_CHANNELS)
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.run("true")
        for _, writer in opened:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in opened))
        assert (await client.run("echo well")).stdout == "well\n"


async def test_endless_attempts_to_sign_in_end(spoken, session_id, monkeypatch):
    monkeypatch.setattr(connections, "MAX_FAILURES", 5)
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(30)]
    with pytest.raises(asyncssh.DisconnectError) as ended:
        async with spoken.connect(session_id, keys):
            pass
    assert "too many attempts" in ended.value.reason


async def test_a_user_has_so_many_connections(spoken, connect, monkeypatch):
    spoken.gateway._seats.per_user = 2
    async with connect() as one, connect() as two:
        with pytest.raises(asyncssh.DisconnectError) as ended:
            async with connect() as three:
                await raised(three)
        assert "2 connections" in ended.value.reason
        assert (await one.run("true")).exit_status == 0
    async with connect() as again:
        assert (await again.run("true")).exit_status == 0
    assert two.is_closed()


@pytest.mark.parametrize(
    "weak",
    [
        {"encryption_algs": ["aes128-cbc"]},
        {"mac_algs": ["hmac-sha1"], "encryption_algs": ["aes128-ctr"]},
        {"kex_algs": ["diffie-hellman-group14-sha1"]},
        {"signature_algs": ["ssh-rsa"], "server_host_key_algs": ["ssh-rsa"]},
    ],
)
async def test_algorithms_of_yesterday_are_refused(spoken, session_id, weak):
    with pytest.raises(asyncssh.KeyExchangeFailed):
        async with spoken.connect(session_id, **weak):
            pass


async def test_neither_a_password_nor_an_agent_nor_another_host_is_taken(connect, spoken):
    with pytest.raises(asyncssh.PermissionDenied):
        async with spoken.connect("ada", key=[], password="secret"):
            pass
    async with connect() as client:
        done = await client.run("echo ${SSH_AUTH_SOCK-none}${DISPLAY-none}")
        assert done.stdout == "nonenone\n"
        for host in ("10.0.0.1", "example.com", "169.254.169.254", "127.0.0.2"):
            with pytest.raises(asyncssh.ChannelOpenError):
                await client.open_connection(host, 80)


async def test_a_port_inside_is_reached_and_each_direction_ends_by_itself(connect):
    async def served(reader: Any, writer: Any) -> None:
        data = await reader.read()
        writer.write(b"got %d" % len(data))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with connect() as client, server:
        reader, writer = await client.open_connection("localhost", port, encoding=None)
        writer.write(b"x" * 3_000_000)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 60) == b"got 3000000"
    async with connect() as client:
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.open_connection("localhost", port)


async def test_a_client_that_reads_nothing_is_not_written_for(connect, spoken):
    async with connect(window=1 << 30) as client:
        channel, _ = await client.create_session(asyncssh.SSHClientSession, "yes", encoding=None)
        channel.pause_reading()
        # And the socket itself is not read any more.
        client._transport.pause_reading()
        [door] = spoken.gateway._doors
        transport = door._connection._transport
        await wait_until(lambda: asyncio.sleep(0, not door._connection.room.is_set()))
        before = transport.get_write_buffer_size()
        await asyncio.sleep(0.3)
        assert transport.get_write_buffer_size() - before <= 256 << 10
        client._transport.resume_reading()
        channel.close()


async def test_who_is_signed_in_needs_no_key_over_the_servers_own_connection(
    spoken, ada, session_id
):
    async with carried(ada, session_id) as client:
        assert (await client.run("echo carried")).stdout == "carried\n"
        await ada.logout()
        await asyncio.wait_for(client.wait_closed(), 60)


async def test_garbage_at_the_door_ends_at_once(spoken):
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"x" * 100_000, b"SSH-2.0-x\r\n" + b"\xff" * 64):
        reader, writer = await asyncio.open_connection("127.0.0.1", spoken.port)
        writer.write(said)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 60)
        writer.close()
    await wait_until(lambda: asyncio.sleep(0, not spoken.gateway._seats.strangers))


@contextlib.asynccontextmanager
async def carried(owner: Any, session_id: str) -> Any:
    """Connect an SSH client through the WebSocket, as ProxyCommand does."""
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def sent() -> Any:
        while (piece := await pieces.get()) is not None:
            yield piece

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def up() -> None:
            while data := await reader.read(65536):
                pieces.put_nowait(data)
            pieces.put_nowait(None)

        task = asyncio.create_task(up())
        with contextlib.suppress(ConnectionError, ConnectionFailed):
            async for piece in owner.ssh_stream(session_id, sent()):
                writer.write(piece)
                await writer.drain()
        writer.close()
        await task

    local = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = local.sockets[0].getsockname()[1]
    async with (
        local,
        asyncssh.connect(
            "127.0.0.1", port, username="x", known_hosts=None, config=None, client_keys=None
        ) as made,
    ):
        yield made


async def test_files_go_both_ways_and_are_the_workspaces_own(connect, ada, session_id):
    content = bytes(range(256)) * 8000
    async with connect() as client, client.start_sftp_client() as files:
        async with files.open("put", "wb") as out:
            await out.write(content)
        assert await ada.read_file(session_id, "put") == content
        async with files.open("put", "rb") as source:
            assert await source.read() == content
        await files.mkdir("dir")
        await files.posix_rename("put", "dir/put")
        await files.symlink("put", "dir/link")
        assert sorted(await files.listdir("dir")) == [".", "..", "link", "put"]
        assert await files.readlink("dir/link") == "put"
        await files.chmod("dir/put", 0o640)
        await files.truncate("dir/put", 3)
        await files.utime("dir/put", (1.0, 2.0))
        found = await files.stat("dir/put")
        assert (found.size, found.permissions & 0o777, found.mtime) == (3, 0o640, 2)
        assert (await files.statvfs("dir")).blocks > 0
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await files.stat("nothing")
        with pytest.raises(asyncssh.SFTPFailure):
            await files.rmdir("dir")
        await files.rmtree("dir")
        assert not await files.exists("dir")


async def test_a_port_inside_leads_to_the_client(connect):
    async def served(reader: Any, writer: Any) -> None:
        writer.write(b"got %d" % len(await reader.read()))
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, connect() as client:
        listener = await client.forward_remote_port("localhost", 0, "127.0.0.1", port)
        inside = listener.get_port()
        script = (
            "import socket; s = socket.create_connection(('127.0.0.1', %d)); "
            "s.sendall(bytes(500000)); s.shutdown(1); print(s.recv(99).decode())"
        )
        done = await client.run(f'python3 -c "{script % inside}"')
        assert (done.stdout, done.stderr) == ("got 500000\n", "")
        with pytest.raises(asyncssh.ChannelListenError):
            await client.forward_remote_port("localhost", inside, "127.0.0.1", port)
        with pytest.raises(asyncssh.ChannelListenError):
            await client.forward_remote_port("192.0.2.1", 0, "127.0.0.1", port)
        listener.close()
        await listener.wait_closed()
    await wait_until(lambda: is_refused(inside))  # the listener ends a moment behind its channel


async def is_refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False
    writer.close()
    return False
