"""Losses that a server goes on without while it watches."""

from __future__ import annotations

import errno
from io import StringIO

import pytest
from rich.console import Console

from actors.core.errors.base import Unavailable
from cluster.bringup import leftovers, logs, server
from cluster.bringup.progress import Progress
from cluster.bringup.server import Ready, Server
from cluster.settings import Settings


class Head:
    """A head that is well, until it has been looked at often enough."""

    def __init__(self, enough) -> None:
        self.looks = 0
        self._enough = enough

    def start_dashboard(self) -> None:
        pass

    def pids(self) -> set[int]:
        return set()

    def watch(self) -> None:
        self.looks += 1
        if self.looks == 3:
            self._enough()


class Quiet:
    """Stands in for nobody, since nobody dies."""

    pids: frozenset[int] = frozenset()

    def watch(self, _seconds) -> None:
        pass


def test_a_full_disk_does_not_end_the_server(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(server, "WATCH_SECONDS", 0.001)
    monkeypatch.setattr(leftovers, "RECORD_SECONDS", 0.0)
    monkeypatch.setattr(leftovers, "reap", lambda _: None)
    monkeypatch.setattr(leftovers, "record", full)
    monkeypatch.setattr(logs, "prune", full)
    progress = Progress(Console(file=StringIO()))
    watching = Server(Settings(data_dir=tmp_path), conductor="none", api="none", progress=progress)
    watching._head = head = Head(watching._end.set)
    watching._stand_in = Quiet()
    watching._watch()
    assert head.looks == 3


def serving(tmp_path, monkeypatch, error, tries):
    """A server whose node is lost once it was ready, and does not come up again ``tries`` times."""
    progress = Progress(Console(file=StringIO()))
    serves = Server(Settings(data_dir=tmp_path), conductor="none", api="none", progress=progress)
    serves._layout.prepare()
    ups = []

    def up():
        ups.append(None)
        if 1 < len(ups) <= tries:
            raise error
        return Ready("http://x", "", "a@b.c", None, 1.0)

    def watch():
        if len(ups) > 1:
            serves._end.set()
        else:
            raise Unavailable("ray", "the raylet has ended")

    monkeypatch.setattr(serves, "_up", up)
    monkeypatch.setattr(serves, "_watch", watch)
    monkeypatch.setattr(leftovers, "end", lambda *_, **__: 0)
    monkeypatch.setattr(leftovers, "reap", lambda _: None)
    monkeypatch.setattr(server, "FULL_DISK_SECONDS", 0.0)
    return serves, ups


def test_a_full_disk_does_not_end_a_server_that_begins_again(tmp_path, monkeypatch):
    error = OSError(errno.ENOSPC, "No space left on device")
    serves, ups = serving(tmp_path, monkeypatch, error, tries=20)
    serves._serve()
    assert len(ups) == 21


def test_nor_does_what_fails_while_there_is_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "FULL_BYTES", 1 << 62)
    serves, ups = serving(tmp_path, monkeypatch, Unavailable("ray", "it did not start"), tries=20)
    serves._serve()
    assert len(ups) == 21


def test_a_node_that_is_lost_again_and_again_for_another_reason_ends_it(tmp_path, monkeypatch):
    serves, ups = serving(tmp_path, monkeypatch, Unavailable("ray", "it did not start"), tries=20)
    with pytest.raises(Unavailable, match="it did not start"):
        serves._serve()
    assert len(ups) == server.MAX_NODES_IN_A_ROW


def test_a_first_start_on_a_full_disk_reports_it(tmp_path, monkeypatch):
    serves, _ = serving(tmp_path, monkeypatch, None, tries=0)

    def up():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(serves, "_up", up)
    with pytest.raises(OSError, match="No space left"):
        serves._serve()
