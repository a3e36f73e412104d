"""Waiting until a server rests: what is measured right behind a start is measured beside it."""

from __future__ import annotations

import asyncio
import contextlib
import time

import psutil

from tests.support.server_process import ServerProcess

RESTING = 0.25
"""Processors in use by all of a server's processes."""


async def wait_for_rest(server: ServerProcess, timeout_seconds: float = 60.0) -> None:
    """Return when the server's processes have used little for two seconds on end.

    Ray's own processes go on starting and importing for a while after the pool is full.
    """
    deadline = time.monotonic() + timeout_seconds
    quiet, used, at = 0, processor_seconds(server), time.monotonic()
    while quiet < 2:
        if time.monotonic() > deadline:
            raise TimeoutError("the server does not come to rest")
        await asyncio.sleep(1)
        before, began = used, at
        used, at = processor_seconds(server), time.monotonic()
        busy = sum(used[pid] - before.get(pid, 0.0) for pid in used) / (at - began)
        quiet = quiet + 1 if busy < RESTING else 0


def server_processes(server: ServerProcess) -> list[psutil.Process]:
    """Return the server's processes without those of its containers, which are bubblewrap's children."""
    assert server.process is not None
    found, unseen = [], [psutil.Process(server.process.pid)]
    while unseen:
        process = unseen.pop()
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() != "bwrap":
                found.append(process)
                unseen += process.children()
    return found


def processor_seconds(server: ServerProcess) -> dict[int, float]:
    """Return what each of these has used of the processors."""
    used = {}
    for process in server_processes(server):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used[process.pid] = times.user + times.system
    return used
