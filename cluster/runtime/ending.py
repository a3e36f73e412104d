"""Ending a container, and saying why one has ended."""

from __future__ import annotations

import asyncio
import signal

from actors.core.backoff import Backoff
from actors.core.errors.base import DeadlineExceeded
from cluster.runtime import cgroups
from cluster.runtime import processes as identity
from cluster.runtime.cgroups import Group
from cluster.runtime.processes import ProcessIdentity
from cluster.runtime.registry import Processes, Status

AGENT_NAME = "codi"
_KILL_SECONDS = 10.0
_GROUP_SECONDS = 5.0


async def end(processes: Processes, grace_seconds: float) -> None:
    """Ask CODI to end, kill everything after the grace time, and remove the control group.

    Returns when every process of the container is gone. Idempotent. Raises DeadlineExceeded when
    the kernel does not let go of one (a process in uninterruptible sleep).
    """
    agent = _agent(processes)
    if agent and processes.init and grace_seconds > 0:
        identity.send_signal(agent, signal.SIGTERM)
        await identity.ends_within(processes.init, grace_seconds)
    await _kill(processes)
    if processes.group is not None:
        await _remove(processes.group)


def _agent(processes: Processes) -> ProcessIdentity | None:
    """Return CODI; if it was killed inside and started again, it is another child of the first process.

    By its name, which a program inside may take: the signal would be for that one, and the end come after
    the grace time.
    """
    if processes.init is None or processes.agent is None or identity.is_alive(processes.agent):
        return processes.agent
    for pid in identity.children(processes.init.pid):
        stat = identity.read_stat(pid)
        if stat is not None and stat.command == AGENT_NAME:
            return identity.identify(pid)
    return None


async def _kill(processes: Processes) -> None:
    """Kill the first process, with which the kernel kills the whole pid namespace, and the monitor."""
    victims = [process for process in (processes.init, processes.monitor) if process is not None]
    if processes.monitor is not None and processes.init is None:
        victims = [*_children(processes.monitor), processes.monitor]
    for victim in victims:
        identity.send_signal(victim, signal.SIGKILL)
    if processes.group is not None:
        cgroups.kill(processes.group)
    for victim in victims:
        if not await identity.ends_within(victim, _KILL_SECONDS):
            raise DeadlineExceeded("killing a container", _KILL_SECONDS)


def _children(monitor: ProcessIdentity) -> list[ProcessIdentity]:
    """Return the children of bubblewrap: an attempt may fail before it has said who its child is."""
    if not identity.is_alive(monitor):
        return []
    found = (identity.identify(pid) for pid in identity.children(monitor.pid))
    return [child for child in found if child is not None]


async def _remove(group: Group) -> None:
    """Remove a group; the kernel takes some milliseconds to let go of the last process."""
    backoff = Backoff(0.001, 0.1)
    async with asyncio.timeout(_GROUP_SECONDS):
        while not cgroups.remove(group):
            cgroups.kill(group)
            await asyncio.sleep(backoff.next())


def reason(status: Status, last_words: str, *, out_of_memory: bool) -> str:
    """Describe in one line why a container ended. bubblewrap reports signal N as exit code 128 + N."""
    if status.written_at is None:
        return "stopped"  # whoever stopped it has removed the files
    match status.exit_code:
        case None:
            return "ended"
        case 0:
            return "ended by itself"
        case 137 if out_of_memory:
            return "killed: out of memory"
        case code if code > 128:
            return f"killed by signal {code - 128}"
        case code:
            return f"exited with code {code}" + (f": {last_words}" if last_words else "")
