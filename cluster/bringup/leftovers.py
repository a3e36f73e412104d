"""Processes that a server left behind: found by the marker in their environment, never by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from cluster.bringup.layout import MARKER
from cluster.runtime.identity import ProcessIdentity, identify, is_alive, send_signal


def find(data_dir: Path) -> list[ProcessIdentity]:
    """Return the processes of the server with that data directory, this one and its parents excepted.

    Containers are not among them: they get no variable of the server.
    """
    wanted = f"{MARKER}={data_dir}".encode()
    spared = set(_ancestry(os.getpid()))
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in spared:
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in variables:
            identity = identify(int(entry.name))
            if identity is not None:
                found.append(identity)
    return found


def end(data_dir: Path, *, grace_seconds: float, limit_seconds: float = 10.0) -> int:
    """End them, at first politely; return how many there were. Raises TimeoutError."""
    ended: set[int] = set()
    deadline = time.monotonic() + limit_seconds
    polite_until = time.monotonic() + grace_seconds
    while living := find(data_dir):
        now = time.monotonic()
        if now > deadline:
            raise TimeoutError(f"{len(living)} processes do not end")
        number = signal.SIGTERM if now < polite_until else signal.SIGKILL
        for identity in living:
            if identity.pid not in ended or number is signal.SIGKILL:
                send_signal(identity, number)
                ended.add(identity.pid)
        _wait(living, min(0.2, max(0.02, polite_until - now)))
    return len(ended)


def _wait(processes: list[ProcessIdentity], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(map(is_alive, processes)):
        time.sleep(0.02)


def _ancestry(pid: int) -> Iterator[int]:
    while pid > 0:
        yield pid
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return
        pid = int(text.rpartition(")")[2].split()[1])
