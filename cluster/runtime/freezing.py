"""Taking a container's processors away without ending it, and giving them back."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

from cluster.runtime import processes as identity
from cluster.runtime.processes import ProcessIdentity
from cluster.runtime.registry import Processes

_ROUNDS = 20
_SETTLE_SECONDS, _LOOK_SECONDS = 2.0, 0.005


def freeze(processes: Processes) -> list[ProcessIdentity]:
    """Stop everything in a container; return what ``thaw`` needs. Blocks for milliseconds.

    By its control group where the kernel can (version 2). Else by a signal to each process, again until
    none is left that was forked meanwhile; what was stopped already stays so.
    """
    file = _freezer(processes)
    if file is not None:
        file.write_text("1", encoding="ascii")
        deadline = time.monotonic() + _SETTLE_SECONDS
        while "frozen 1" not in file.with_name("cgroup.events").read_text(encoding="ascii"):
            if time.monotonic() > deadline:
                break
            time.sleep(_LOOK_SECONDS)
        return []
    stopped: dict[int, ProcessIdentity] = {}
    for _ in range(_ROUNDS):
        found = [each for each in _running(processes) if each.pid not in stopped]
        for each in found:
            if identity.send_signal(each, signal.SIGSTOP):
                stopped[each.pid] = each
        if not found:
            break
    return list(stopped.values())


def thaw(processes: Processes, stopped: list[ProcessIdentity]) -> None:
    """Let go on what ``freeze`` has stopped. Idempotent."""
    file = _freezer(processes)
    if file is not None:
        with contextlib.suppress(OSError):  # it is gone with its container
            file.write_text("0", encoding="ascii")
    for each in stopped:
        identity.send_signal(each, signal.SIGCONT)


def _freezer(processes: Processes) -> Path | None:
    if processes.group is None or processes.group.version == 1:
        return None
    file = Path(processes.group.paths[""]) / "cgroup.freeze"
    return file if file.exists() else None


def _running(processes: Processes) -> list[ProcessIdentity]:
    """Return the processes that are neither stopped nor ended, the eldest first."""
    if processes.init is None or not identity.is_alive(processes.init):
        return []
    found = (
        identity.identify(pid)
        for pid, stat in identity.descendants(processes.init.pid).items()
        if stat.state not in "TtZX"
    )
    return [each for each in found if each is not None]
