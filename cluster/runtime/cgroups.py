"""Limits of a container by control groups, version 1 and 2, where the machine lets us.

Groups lie under one parent named after the data directory: below the server's own groups in
version 1, in version 2 in the nearest ancestor that may hand out controllers (a group that holds
processes may not; cgroups(7), "no internal processes"). Whether it works is found out by doing
it. Limits hold for the container as a whole; its processes cannot see the group at all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from actors.core.records.base import Frozen

CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")
"""``cpuacct`` exists in version 1 only; version 2 always accounts."""

_CPU_PERIOD_MICROSECONDS = 100_000
_ATTEMPTS = 5
_TASKS_OF_ITS_OWN = 4
"""bubblewrap's monitor and reaper, setpriv on its way, CODI: not what the limit is meant for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a container; ``pids`` counts threads too, as the kernel does."""

    cpu: float
    memory_bytes: int
    pids: int


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted hierarchy: ``root`` is the group shown at ``path``; version 2 has no controllers here."""

    path: str
    root: str
    version: int
    controllers: frozenset[str]


class Group(Frozen):
    """A container's groups: controller (``""`` for version 2) → directory."""

    version: int
    paths: dict[str, str]

    @property
    def controllers(self) -> frozenset[str]:
        """The controllers that limit it."""
        if self.version == 1:
            return frozenset(self.paths)
        try:
            return frozenset((Path(self.paths[""]) / "cgroup.controllers").read_text().split())
        except OSError:
            return frozenset()

    @property
    def members_files(self) -> list[str]:
        """The files that a process writes 0 to, to join."""
        return sorted({f"{path}/cgroup.procs" for path in self.paths.values()})


def parse_mounts(mountinfo: str) -> list[Mount]:
    """Find the cgroup hierarchies in ``/proc/self/mountinfo`` (proc(5))."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.partition(" ")
        fields = left.split()
        if kind == "cgroup2":
            found.append(Mount(fields[4], fields[3], 2, frozenset()))
        elif kind == "cgroup":
            known = frozenset(options.split()[-1].split(",")) & frozenset(CONTROLLERS)
            if known:
                found.append(Mount(fields[4], fields[3], 1, known))
    return found


def parse_own(cgroup: str) -> dict[str, str]:
    """Parse ``/proc/self/cgroup``: controller (``""`` for version 2) → the group of this process."""
    own = {}
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    return own


def own_directory(mount: Mount, group: str) -> str:
    """Return where a group of ``/proc/self/cgroup`` lies under a mount (a container shows a part only)."""
    relative = PurePosixPath(group)
    if mount.root != "/" and relative.is_relative_to(mount.root):
        relative = PurePosixPath("/") / relative.relative_to(mount.root)
    return str(PurePosixPath(mount.path) / relative.relative_to("/"))


def candidates(mount: Mount, group: str) -> list[str]:
    """Return the directories under which version 2 groups may be made, the nearest first."""
    own = PurePosixPath(own_directory(mount, group))
    return [
        str(path) for path in (own, *own.parents) if path.is_relative_to(PurePosixPath(mount.path))
    ]


def settings(version: int, controller: str, limits: Limits) -> list[tuple[str, str, bool]]:
    """Return the files to write for a limit: name, value, and whether it must succeed."""
    quota = max(1000, round(limits.cpu * _CPU_PERIOD_MICROSECONDS))
    memory, pids = str(limits.memory_bytes), str(limits.pids + _TASKS_OF_ITS_OWN)
    match version, controller:
        case 1, "memory":
            swap = ("memory.memsw.limit_in_bytes", memory, False)  # only with swap accounting
            # Version 2 counts the buffers of sockets as memory; here they have a limit of their own.
            sockets = ("memory.kmem.tcp.limit_in_bytes", str(limits.memory_bytes // 8), False)
            return [("memory.limit_in_bytes", memory, True), swap, sockets]
        case 2, "memory":
            return [("memory.max", memory, True), ("memory.swap.max", "0", False)]
        case _, "pids":
            return [("pids.max", pids, True)]
        case 1, "cpu":
            period = str(_CPU_PERIOD_MICROSECONDS)
            return [("cpu.cfs_period_us", period, True), ("cpu.cfs_quota_us", str(quota), True)]
        case 2, "cpu":
            return [("cpu.max", f"{quota} {_CPU_PERIOD_MICROSECONDS}", True)]
        case _:
            return []


class Cgroups:
    """Makes and removes the groups of one server's containers."""

    def __init__(self, parents: Mapping[str, str], version: int, available: frozenset[str]) -> None:
        """``parents``: controller (``""`` for version 2) → the directory that containers' groups go in.

        ``available`` are the controllers that containers will be limited by.
        """
        self._parents = parents
        self._version = version
        self.available = available

    @classmethod
    def detect(cls, name: str) -> Cgroups:
        """Find what this process may use, by trying; nothing stays behind. ``name`` is the server's own."""
        mounts = parse_mounts(_read("/proc/self/mountinfo"))
        own = parse_own(_read("/proc/self/cgroup"))
        parents = {}
        for mount in mounts:
            for controller in mount.controllers:
                parent = f"{own_directory(mount, own.get(controller, '/'))}/{name}"
                if _can_hold_members(parent):
                    parents[controller] = parent
        if "memory" in parents or "pids" in parents:
            return cls(parents, 1, frozenset(parents))
        for mount in mounts:
            if mount.version == 2:
                for base in candidates(mount, own.get("", "/")):
                    parent = f"{base}/{name}"
                    handed_out = _hand_out(base, parent)
                    if handed_out and _can_hold_members(parent):
                        return cls({"": parent}, 2, handed_out)
        return cls({}, 2, frozenset())

    def create(self, container_id: str, limits: Limits) -> Group | None:
        """Make a container's groups, or return None where the machine allows none. Idempotent.

        Raises OSError when the machine allowed them before and does not now.
        """
        if not self._parents:
            return None
        paths = {controller: f"{path}/{container_id}" for controller, path in self._parents.items()}
        group = Group(version=self._version, paths=paths)
        try:
            self._make(paths)
            for controller in self.available:
                directory = paths.get(controller) or paths[""]
                for file, value, required in settings(self._version, controller, limits):
                    _write(f"{directory}/{file}", value, required=required)
        except BaseException:
            remove(group)
            raise
        return group

    def _make(self, paths: Mapping[str, str]) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                for path in paths.values():
                    parent = Path(path).parent
                    if self._version == 2 and not parent.exists():
                        _hand_out(str(parent.parent), str(parent))
                    Path(path).mkdir(parents=True, exist_ok=True)
            except FileNotFoundError:  # the last container went and took the parent with it
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return


def kill(group: Group) -> None:
    """Kill everything in a group, whichever namespace it is in."""
    for path in group.paths.values():
        with contextlib.suppress(OSError):
            Path(path, "cgroup.kill").write_text("1", encoding="ascii")
            continue
        for member in _members(path):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(member, signal.SIGKILL)


def remove(group: Group) -> bool:
    """Remove the groups; false while something in them has not ended yet. Idempotent.

    With the last container the parent goes too.
    """
    gone = True
    for path in set(group.paths.values()):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            gone = False
            continue
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(path))
    return gone


def usage(group: Group) -> dict[str, float]:
    """Return what a group uses now, as far as its controllers know: cpu_seconds, memory_bytes, pids."""
    found: dict[str, float] = {}
    with contextlib.suppress(OSError, KeyError, ValueError):
        if group.version == 1:
            found["cpu_seconds"] = int(_read(f"{group.paths['cpuacct']}/cpuacct.usage")) / 1e9
        else:
            found["cpu_seconds"] = _fields(f"{group.paths['']}/cpu.stat")["usage_usec"] / 1e6
    with contextlib.suppress(OSError, KeyError, ValueError):
        found["memory_bytes"] = _memory(group)
    with contextlib.suppress(OSError, KeyError, ValueError):
        directory = group.paths["pids" if group.version == 1 else ""]
        found["pids"] = int(_read(f"{directory}/pids.current"))
    return found


def out_of_memory(group: Group) -> bool:
    """Return whether the kernel has killed something in the group for lack of memory."""
    with contextlib.suppress(OSError, KeyError, ValueError):
        if group.version == 1:
            return _fields(f"{group.paths['memory']}/memory.oom_control").get("oom_kill", 0) > 0
        return _fields(f"{group.paths['']}/memory.events").get("oom_kill", 0) > 0
    return False


def _memory(group: Group) -> int:
    """Memory in use, without page cache that the kernel would give back at once."""
    if group.version == 1:
        path, current, cache = group.paths["memory"], "memory.usage_in_bytes", "total_inactive_file"
    else:
        path, current, cache = group.paths[""], "memory.current", "inactive_file"
    return max(0, int(_read(f"{path}/{current}")) - _fields(f"{path}/memory.stat").get(cache, 0))


def _fields(path: str) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in _read(path).splitlines())}


def _members(path: str) -> Sequence[int]:
    try:
        return [int(line) for line in _read(f"{path}/cgroup.procs").split()]
    except OSError:
        return []


def _can_hold_members(parent: str) -> bool:
    """Return whether a process can be put in a group under ``parent``, by doing so."""
    trial = f"{parent}/trial-{os.getpid()}"
    try:
        Path(trial).mkdir(parents=True, exist_ok=True)
        joined = subprocess.run(
            ["/bin/sh", "-c", 'echo 0 >"$1"', "sh", f"{trial}/cgroup.procs"],
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(trial)
            os.rmdir(parent)
    return joined.returncode == 0


def _hand_out(base: str, parent: str) -> frozenset[str]:
    """Make ``parent`` a group whose children have limits, and return which.

    Memory and pids are the least; without them nothing is returned, and nothing left.
    """
    try:
        Path(parent).mkdir(exist_ok=True)
        for directory in (base, parent):
            file = f"{directory}/cgroup.subtree_control"
            for controller in ("memory", "pids", "cpu"):
                if controller not in _read(file).split():
                    _write(file, f"+{controller}", required=controller != "cpu")
        return frozenset(_read(f"{parent}/cgroup.subtree_control").split())
    except OSError:
        with contextlib.suppress(OSError):
            os.rmdir(parent)
        return frozenset()


def _write(path: str, value: str, *, required: bool) -> None:
    try:
        Path(path).write_text(value, encoding="ascii")
    except OSError:
        if required:
            raise


def _read(path: str) -> str:
    return Path(path).read_text(encoding="ascii", errors="replace")
