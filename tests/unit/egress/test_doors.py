"""What a door takes, and what it refuses: everything that comes from inside may be a trap."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.egress import doors
from cluster.egress.doors import Door
from cluster.egress.doorway import SOCKET

Knock = Callable[..., socket.socket]


def long_directory(tmp_path: Path) -> Path:
    """Return a directory whose name is too long for a socket's address."""
    directory = tmp_path / ("x" * 100) / ("y" * 100)
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def visitors() -> list[socket.socket]:
    return []


@pytest.fixture
def arrived() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def door(tmp_path, visitors, arrived) -> Iterator[Door]:
    def take(connection: socket.socket) -> None:
        visitors.append(connection)
        arrived.release()

    made = Door(
        long_directory(tmp_path), arrived=take, is_user=lambda user: user == os.geteuid(), most=2
    )
    yield made
    made.close(gone=True)
    made.join(5)
    assert not made._thread.is_alive()
    for each in visitors:
        each.close()


@pytest.fixture
def knock(door, tmp_path) -> Iterator[Knock]:
    callers = []

    def call(*descriptors: int, data: bytes = b"x") -> socket.socket:
        caller = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        caller.settimeout(5)
        directory = os.open(tmp_path / ("x" * 100) / ("y" * 100), os.O_PATH)
        caller.connect(f"/proc/self/fd/{directory}/{SOCKET}")
        os.close(directory)
        callers.append(caller)
        if data:
            socket.send_fds(caller, [data], descriptors)
        return caller

    yield call
    for each in callers:
        each.close()


def was_refused(caller: socket.socket) -> bool:
    try:
        return caller.recv(10) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def elsewhere(monkeypatch) -> None:
    """Pretend that listening sockets of this process are another network's."""
    monkeypatch.setattr(doors, "_own_network", lambda: ())


def test_nothing_but_a_listening_tcp_socket_is_taken(door, knock, elsewhere, tmp_path):
    reading, writing = os.pipe()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    idle = socket.socket()
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(tmp_path / "s"))
    local.listen()
    file = os.open(tmp_path, os.O_PATH)
    for descriptor in (reading, writing, udp.fileno(), idle.fileno(), local.fileno(), file):
        assert was_refused(knock(descriptor))
    assert was_refused(knock())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert was_refused(knock(reading, listener.fileno()))  # it has room for one
    assert not door.is_open
    for each in (reading, writing, file):
        os.close(each)
    for each in (udp, idle, local):
        each.close()


def test_a_socket_of_the_servers_own_network_is_refused(door, knock):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert was_refused(knock(listener.fileno()))


def test_another_users_process_is_refused(tmp_path, elsewhere):
    door = Door(tmp_path, arrived=socket.socket.close, is_user=lambda _: False, most=1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        caller.settimeout(5)
        caller.connect(str(tmp_path / SOCKET))
        assert was_refused(caller)
    door.close(gone=True)
    door.join(5)


def test_connections_come_through_without_options_that_could_hold_anybody_up(
    door, knock, visitors, arrived, elsewhere
):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\xff\0\0\0")
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1 << 16)
        assert knock(listener.fileno()).recv(10) == b"\1"
        with socket.create_connection(listener.getsockname()):
            assert arrived.acquire(timeout=60)
    inside = visitors[0]
    assert not inside.getblocking()
    assert inside.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)[:4] == bytes(4)
    assert inside.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1


def test_no_more_are_taken_than_there_is_room_for(door, knock, arrived, elsewhere):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert knock(listener.fileno()).recv(10) == b"\1"
        programs = [socket.create_connection(listener.getsockname()) for _ in range(4)]
        assert arrived.acquire(timeout=60)
        assert arrived.acquire(timeout=60)
        assert not arrived.acquire(timeout=0.1)
        door.release()
        assert arrived.acquire(timeout=60)
        assert not arrived.acquire(timeout=0.1)
        for each in programs:
            each.close()


def test_the_newest_socket_serves_and_the_one_before_when_its_owner_leaves(
    door, knock, arrived, elsewhere
):
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("", 0)) as second:
        knock(first.fileno()).recv(10)
        rival = knock(second.fileno())
        assert rival.recv(10) == b"\1"
        with socket.create_connection(second.getsockname()):
            assert arrived.acquire(timeout=60)
        rival.close()
        with socket.create_connection(first.getsockname()):
            assert arrived.acquire(timeout=60)


def test_a_socket_whose_owner_was_killed_serves_on(door, knock, arrived, elsewhere):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        owner = knock(listener.fileno())
        assert owner.recv(10) == b"\1"
        owner.close()
        with socket.create_connection(listener.getsockname()):
            assert arrived.acquire(timeout=60)
        again = knock(listener.fileno())
        assert again.recv(10) == b"\1"
        with socket.create_connection(listener.getsockname()):
            assert arrived.acquire(timeout=60)


def test_a_crowd_of_callers_leaves_descriptors_as_they_were(door, knock, elsewhere):
    before = len(os.listdir("/proc/self/fd"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(50):
            caller = knock(listener.fileno())
            caller.recv(10)
            caller.close()
            knock(data=b"").close()
    last = knock(data=b"")
    assert len(os.listdir("/proc/self/fd")) <= before + 12
    last.close()


def test_a_door_that_waits_in_accept_ends_with_its_container(tmp_path, monkeypatch):
    monkeypatch.setattr(doors, "_own_network", lambda: ())
    door = Door(tmp_path, arrived=socket.socket.close, is_user=lambda _: True, most=1)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller,
    ):
        caller.connect(str(tmp_path / SOCKET))
        entered = threading.Event()
        accept = door._accept

        def waiting(inner: socket.socket, events: int) -> None:
            # What a program inside brings about: it takes the connection first, the socket blocks.
            inner.accept()[0].close()
            entered.set()
            accept(inner, events)

        monkeypatch.setattr(door, "_accept", waiting)
        socket.send_fds(caller, [b"x"], [listener.fileno()])
        assert caller.recv(10) == b"\1"
        with socket.create_connection(listener.getsockname()):
            assert entered.wait(5)
            door.join(0.1)
            assert door._thread.is_alive()
            door.close(gone=True)
            door.join(5)
    assert not door._thread.is_alive()
