"""What a server goes on without while it watches."""

from __future__ import annotations

import errno
from io import StringIO

from rich.console import Console

from cluster.bringup import leftovers, logs, server
from cluster.bringup.progress import Progress
from cluster.bringup.server import Server
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


def test_a_full_disk_does_not_end_the_server(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(server, "WATCH_SECONDS", 0.001)
    monkeypatch.setattr(leftovers, "RECORD_SECONDS", 0.0)
    monkeypatch.setattr(leftovers, "reap", lambda _: None)
    monkeypatch.setattr(leftovers, "record", full)
    monkeypatch.setattr(logs, "prune", full)
    progress = Progress(Console(file=StringIO()))
    watching = Server(Settings(data_dir=tmp_path), conductor="none", progress=progress)
    watching._head = head = Head(watching._end.set)
    watching._watch()
    assert head.looks == 3
