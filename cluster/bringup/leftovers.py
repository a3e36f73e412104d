"""The processes of a server: all that descend from it, but for containers.

Found by what nobody else can make, never by name, argument or environment: by parentage, and by pids
that were written down with start times, in the data directory, which no container sees. The server is
where its orphans go (``adopt_orphans``), so while it lives its descendants are all there is, whatever
they call themselves. It writes them down, for when it is killed; HAProxy, which is the one that is left
then, writes itself down (``haproxy.py``). What runs in another pid namespace is never the server's, nor is a
container's monitor, which the registry knows, nor anything below one.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from cluster.layout import Layout
from cluster.runtime import processes as identity
from cluster.runtime.processes import ProcessIdentity, Stat, identify, is_alive, send_signal
from cluster.runtime.registry import Processes, Registry

RECORD_SECONDS = 5.0
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of every descendant whose parent ends (prctl(2)); call ``reap`` from then on."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)


def reap(known: Collection[int]) -> None:
    """Collect adopted processes that have ended, and none of the ``known`` ones, which others collect."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in known:
                return  # the kernel shows it first until it has been collected
            os.waitpid(ended.si_pid, os.WNOHANG)


def record(data_dir: Path) -> None:
    """Write down this process, whose data directory it is, and all that descend from it."""
    layout = Layout(data_dir)
    me = identify(os.getpid())
    assert me is not None
    family = [me, *_below(identity.all_stats(), [me.pid], _monitors(data_dir))]
    draft = layout.family_file.with_suffix(".draft")
    draft.write_text(json.dumps([process.model_dump() for process in family]))
    draft.replace(layout.family_file)
    _forget_ended(layout.pids_dir)


def _forget_ended(pids_dir: Path) -> None:
    """Remove what ended processes wrote down of themselves. What cannot be read may be being written."""
    for path in pids_dir.glob("*"):
        written = _written(path)
        if written is not None and not is_alive(written):
            path.unlink(missing_ok=True)


def find(data_dir: Path) -> list[ProcessIdentity]:
    """Return the processes of the server with that data directory, this one and its parents excepted."""
    spared = set(_ancestry(os.getpid()))
    stats = identity.all_stats()
    roots = {process.pid: process for process in _recorded(Layout(data_dir)) if is_alive(process)}
    below = _below(stats, roots, _monitors(data_dir))
    found = {process.pid: process for process in below}
    for pid, process in roots.items():  # as written down: the pid may be another's by now
        if pid not in found and not _is_elsewhere(pid):
            found[pid] = process
    return [process for pid, process in found.items() if pid not in spared]


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
        for process in living:
            if process.pid not in ended or number is signal.SIGKILL:
                send_signal(process, number)
                ended.add(process.pid)
        _wait(living, min(0.2, max(0.02, polite_until - now)))
    return len(ended)


def _recorded(layout: Layout) -> Iterator[ProcessIdentity]:
    """Yield what was written down; what has ended of it too."""
    with contextlib.suppress(OSError, ValueError):
        for each in json.loads(layout.family_file.read_text()):
            yield ProcessIdentity.model_validate(each)
    for path in layout.pids_dir.glob("*"):
        if (written := _written(path)) is not None:
            yield written


def _written(path: Path) -> ProcessIdentity | None:
    """Return the process that wrote a file of ``pids``; None when it cannot be read."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        boot_id, stat = path.read_text(errors="replace").split("\n", 1)
        ticks = identity.parse_stat(stat).start_ticks
        return ProcessIdentity(pid=int(path.name), start_ticks=ticks, boot_id=boot_id)
    return None


def _below(
    stats: dict[int, Stat], roots: Iterable[int], monitors: Collection[ProcessIdentity]
) -> list[ProcessIdentity]:
    """Return what descends from ``roots``, without containers."""
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    found: dict[int, ProcessIdentity] = {}
    waiting = [child for root in roots for child in children.get(root, ())]
    while waiting:
        pid = waiting.pop()
        if pid in found or stats[pid].ended:
            continue
        process = ProcessIdentity(
            pid=pid, start_ticks=stats[pid].start_ticks, boot_id=identity.boot_id()
        )
        if process in monitors or _is_elsewhere(pid):
            continue
        found[pid] = process
        waiting += children.get(pid, ())
    return list(found.values())


def _monitors(data_dir: Path) -> list[ProcessIdentity]:
    """Return the outermost process of each container."""
    registry = Registry.of(data_dir)
    found = []
    for container_id in registry.ids():
        entry = registry.read(container_id)
        if entry is not None and entry.handle.runtime == "sandbox":
            monitor = Processes.of(entry.handle).monitor
            found += [] if monitor is None else [monitor]
    return found


def _is_elsewhere(pid: int) -> bool:
    """Return whether a process is in another pid namespace, or in one that is not ours to know."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
    except OSError:
        return True


def _wait(processes: list[ProcessIdentity], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(map(is_alive, processes)):
        time.sleep(0.02)


def _ancestry(pid: int) -> Iterator[int]:
    while pid > 0:
        yield pid
        stat = identity.read_stat(pid)
        if stat is None:
            return
        pid = stat.parent
