"""What a launcher sends, and what the parent makes of it."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from cluster.workers import launcher, order
from cluster.workers.order import Order

HALF = [b"/", b"/\0two\0a\0b", b"/\0009\0a\0b", b"\xff"]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The parent's end and the launcher's."""
    parent, asking = socket.socketpair()
    with parent, asking:
        yield parent, asking


def streams() -> list[int]:
    return [os.open(os.devnull, os.O_RDWR) for _ in range(3)]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_a_launcher_would_have_been_is_read_again(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["worker.py", "--a=b c", "", "ä"])
    monkeypatch.setattr(os, "environ", {"A": "1=2", "B": "", "C": "two\nlines"})
    monkeypatch.chdir(tmp_path)
    parsed = Order.parse(launcher.request(), [7, 8, 9])
    environment = {"A": "1=2", "B": "", "C": "two\nlines"}
    assert parsed == Order(str(tmp_path), ["--a=b c", "", "ä"], environment, [7, 8, 9])


@pytest.mark.parametrize("data", HALF)
def test_half_an_order_is_none(data):
    with pytest.raises(ValueError, match=r"half an order|invalid literal|not enough"):
        Order.parse(data, [7, 8, 9])


@pytest.mark.parametrize(
    ("given", "differing"),
    [
        ({"RAY_JOB_ID": "1", "HOME": "/x", "LD_PRELOAD": "p"}, []),
        ({"RAY_JOB_ID": "2", "LD_PRELOAD": "p"}, ["RAY_JOB_ID"]),
        ({"RAY_JOB_ID": "1"}, ["LD_PRELOAD"]),
        (
            {"RAY_JOB_ID": "1", "LD_PRELOAD": "p", "RAY_x": "1", "PYTHONHASHSEED": "1"},
            ["PYTHONHASHSEED", "RAY_x"],
        ),
    ],
)
def test_what_is_read_once_has_to_be_the_parents(given, differing):
    asked = Order("/", [], given, [])
    if differing:
        with pytest.raises(ValueError, match=", ".join(differing) + " differ"):
            asked.check({"RAY_JOB_ID": "1", "HOME": "/y", "LD_PRELOAD": "p"})
    else:
        asked.check({"RAY_JOB_ID": "1", "HOME": "/y", "LD_PRELOAD": "p"})


def test_nothing_is_forked_for_another_user(pair, monkeypatch):
    parent, asking = pair
    socket.send_fds(asking, [b"/\0000"], [0, 1, 2])
    asking.shutdown(socket.SHUT_WR)
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    with pytest.raises(ValueError, match="may have nothing forked"):
        Order.receive(parent)


@pytest.mark.parametrize("data", [*HALF, b"x" * (order.MAX_ORDER_BYTES + 1)])
def test_what_is_refused_leaves_no_stream_open(pair, data):
    parent, asking = pair
    mine = streams()

    def send() -> None:
        sent = socket.send_fds(asking, [data], mine)
        try:
            asking.sendall(data[sent:])
            asking.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was not wanted to its end

    sending = threading.Thread(target=send)
    before = open_files()
    sending.start()
    with pytest.raises(ValueError, match=r"half an order|invalid literal|not enough|without end"):
        Order.receive(parent)
    parent.close()
    sending.join(10)
    assert open_files() == before - 1
    for stream in mine:
        os.close(stream)


def test_a_launcher_that_stops_halfway_holds_nobody_up(pair, monkeypatch):
    monkeypatch.setattr(order, "ORDER_SECONDS", 0.05)
    parent, asking = pair
    mine = streams()
    before = open_files()
    socket.send_fds(asking, [b"/"], mine)
    with pytest.raises(TimeoutError):
        Order.receive(parent)
    assert open_files() == before
    for stream in mine:
        os.close(stream)


def listening(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    return listener


def test_without_a_parent_nobody_forks(tmp_path):
    path = str(tmp_path / "socket")
    assert not launcher.is_forked(path)
    with listening(path):
        pass
    assert not launcher.is_forked(path)


def test_a_parent_that_does_not_answer_in_time_cannot_answer_later(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "PATIENCE_SECONDS", 0.05)
    with listening(str(tmp_path / "socket")) as listener:
        kept: list[launcher.socket] = []
        monkeypatch.setattr(
            launcher, "socket", lambda *kind: kept.append(socket.socket(*kind)) or kept[0]
        )
        assert not launcher.is_forked(str(tmp_path / "socket"))
        connection, _ = listener.accept()
        with connection, pytest.raises(BrokenPipeError):
            connection.sendall(launcher.ANSWER)
        kept[0].close()


def test_an_answer_at_the_last_moment_counts(tmp_path):
    parent, asking = socket.socketpair()
    with parent, asking:
        parent.sendall(launcher.ANSWER)
        assert launcher._is_answered(asking)
