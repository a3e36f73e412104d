"""Shows a container its own share of processors, memory and kernel settings, and nothing of the host's.

Files of ``/proc`` and ``/sys`` that programs read to learn how much there is (``free``, ``nproc``, Python,
Java, Node) are covered by ones that state the container's limits; so is ``/proc/sys``, by the few values that
programs ask for. Whatever else in ``/proc`` is not about a process is covered by nothing at all, known or
not. They are written once for each size of container. How busy the container is, they do not say: the
processes in ``/proc`` do. Pure, but for ``prepare``.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

# Of a process, of a namespace, or of no consequence (proc(5)).
_SHOWN = frozenset(
    ("self", "thread-self", "net", "mounts", "filesystems", "version", "uptime", "sysvipc")
)
_STATED = frozenset(
    ("cpuinfo", "meminfo", "stat", "loadavg", "swaps", "cgroups", "sys/fs", "sys/kernel", "sys/vm")
)
_MOST_OF_A_VALUE = 4096

# Values that programs and libraries look up; those of the machine that say nothing about it.
_SYSCTLS = (
    *("fs/file-max", "fs/nr_open", "fs/pipe-max-size", "fs/suid_dumpable", "fs/aio-max-nr"),
    *("fs/inotify/max_user_watches", "fs/inotify/max_user_instances", "fs/protected_hardlinks"),
    *("kernel/cap_last_cap", "kernel/ngroups_max", "kernel/osrelease", "kernel/ostype"),
    *(
        "kernel/pid_max",
        "kernel/threads-max",
        "kernel/version",
        "kernel/shmmax",
    ),
    *("kernel/shmmni", "kernel/sem", "kernel/msgmax", "kernel/msgmnb", "kernel/randomize_va_space"),
    *("kernel/seccomp/actions_avail", "kernel/perf_event_paranoid", "kernel/overflowuid"),
    *("kernel/overflowgid", "kernel/unprivileged_userns_clone", "kernel/yama/ptrace_scope"),
    *("kernel/sched_rr_timeslice_ms",),
    *("vm/overcommit_memory", "vm/overcommit_ratio", "vm/max_map_count"),
    *("vm/mmap_min_addr", "vm/swappiness", "vm/nr_hugepages"),
)
_OWN = frozenset(("sys/net", "sys/user"))
"""Of the reader's own namespaces (network_namespaces(7), namespaces(7))."""

_LIVE = "kernel/random/uuid"
"""The one value that must be another at each look."""


def processors(cpu: float, host: int) -> int:
    """Return how many processors a container with that share of them sees."""
    return max(1, min(host, math.ceil(cpu)))


def pinned(container_id: str, count: int, usable: Sequence[int]) -> frozenset[int]:
    """Return the processors that a container runs on: ``count`` of the usable ones, a row of them.

    Programs take the number in their affinity mask (sched_getaffinity(2)) for what they have. Another
    row for each container, so that all are used alike.
    """
    usable = sorted(usable)
    if count >= len(usable):
        return frozenset(usable)
    begin = int.from_bytes(hashlib.blake2b(container_id.encode(), digest_size=4).digest())
    return frozenset(usable[(begin + step) % len(usable)] for step in range(count))


def meminfo(memory_bytes: int) -> str:
    """Return ``/proc/meminfo`` (proc(5)) for that much memory."""
    total = memory_bytes >> 10
    values = {"MemTotal": total, "MemFree": total, "MemAvailable": total}
    none = (
        *("Buffers", "Cached", "SwapCached", "Active", "Inactive", "Active(anon)"),
        *("Inactive(anon)", "Active(file)", "Inactive(file)", "Unevictable", "Mlocked"),
        *("SwapTotal", "SwapFree", "Dirty", "Writeback", "AnonPages", "Mapped", "Shmem"),
        *("KReclaimable", "Slab", "SReclaimable", "SUnreclaim", "PageTables", "CommitLimit"),
        "Committed_AS",
    )
    lines = values | dict.fromkeys(none, 0)
    return "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in lines.items())


def cpuinfo(host: str, count: int) -> str:
    """Return the first ``count`` processors of the host's ``/proc/cpuinfo``."""
    blocks = [block for block in host.split("\n\n") if block.startswith("processor")]
    return "".join(f"{block.strip()}\n\n" for block in blocks[:count])


def stat(count: int, boot_time: str) -> str:
    """Return ``/proc/stat`` with ``count`` processors that have done nothing; ``ps`` needs the boot time."""
    idle = " 0" * 10
    lines = [f"cpu {idle}", *(f"cpu{number}{idle}" for number in range(count)), "intr 0", "ctxt 0"]
    lines += [boot_time, "processes 1", "procs_running 1", "procs_blocked 0", "softirq 0"]
    return "\n".join(lines) + "\n"


def files(count: int, memory_bytes: int, host: Mapping[str, str]) -> dict[str, str]:
    """Return the files to show, by path from ``/``; ``host`` has some of its own by the same paths."""
    online = "0\n" if count == 1 else f"0-{count - 1}\n"
    boot = [line for line in host.get("/proc/stat", "").splitlines() if line.startswith("btime ")]
    shown = {
        "proc/cpuinfo": cpuinfo(host.get("/proc/cpuinfo", ""), count),
        "proc/meminfo": meminfo(memory_bytes),
        "proc/stat": stat(count, boot[0] if boot else "btime 0"),
        "proc/loadavg": "0.00 0.00 0.00 1/1 1\n",
        "proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
        "proc/cgroups": host.get("/proc/cgroups", ""),
        "proc/sys/kernel/hostname": "workspace\n",
        "proc/sys/kernel/shmall": f"{max(1, memory_bytes >> 12)}\n",
        "proc/sys/kernel/domainname": "(none)\n",
        f"proc/sys/{_LIVE}": "",
        **{f"sys/devices/system/cpu/{name}": online for name in ("online", "possible", "present")},
    }
    for name in _SYSCTLS:
        if f"/proc/sys/{name}" in host:
            shown[f"proc/sys/{name}"] = host[f"/proc/sys/{name}"]
    return shown


def options(directory: str, entries: Mapping[str, bool]) -> list[str]:
    """Return bubblewrap's options that cover ``/proc``; ``directory`` is what ``prepare`` returned.

    ``entries`` are the names in the host's ``/proc``, and in its ``sys``, and whether each is a directory.
    """
    covered = ["--ro-bind", "/proc/sys", "/proc/sys"]
    for name, is_directory in sorted(entries.items()):
        if name.isdigit() or name in _SHOWN or name in _OWN or name == "sys":
            continue
        if name in _STATED:
            source = f"{directory}/proc/{name}"
        else:
            source = f"{directory}/empty" if is_directory else "/dev/null"
        covered += ["--ro-bind", source, f"/proc/{name}"]
    covered += ["--ro-bind", f"/proc/sys/{_LIVE}", f"/proc/sys/{_LIVE}"]
    return [*covered, "--ro-bind", f"{directory}/sys", "/sys"]


def prepare(runtime_dir: Path, cpu: float, memory_bytes: int) -> Path:
    """Return the directory with what containers of this size are shown, made when missing."""
    size = runtime_dir, cpu, memory_bytes
    if size not in _made or not _made[size].is_dir():
        _made[size] = _prepared(runtime_dir, cpu, memory_bytes)
    return _made[size]


_made: dict[tuple[Path, float, int], Path] = {}
"""The views that this process has made: one for each size of containers."""


def _prepared(runtime_dir: Path, cpu: float, memory_bytes: int) -> Path:
    count = processors(cpu, os.cpu_count() or 1)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    shown = files(count, min(memory_bytes, total), _host())
    digest = hashlib.blake2b(repr(sorted(shown.items())).encode(), digest_size=8).hexdigest()
    target = runtime_dir / f"view-{digest}"
    if target.is_dir():
        return target
    runtime_dir.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".view-", dir=runtime_dir))
    try:
        (draft / "empty").mkdir()
        (draft / "sys/fs/cgroup").mkdir(parents=True)
        for name in ("memory", "cpu", "cpuacct", "cpu,cpuacct", "cpuset", "pids"):
            (draft / "sys/fs/cgroup" / name).mkdir()
        for path, content in shown.items():
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            (draft / path).write_text(content)
        for place, _, names in os.walk(draft):
            os.chmod(place, 0o755)  # noqa: S103 - it is what everybody in a container is shown
            for name in names:
                Path(place, name).chmod(0o444)
        with contextlib.suppress(OSError):  # somebody else was first; theirs is the same
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def control_groups(paths: Mapping[str, str]) -> list[str]:
    """Return options that show a container its own control group, where runtimes look for limits.

    ``paths`` are its directories by controller, "" for version 2 (``cgroups.Group``).
    """
    shown: list[str] = []
    for path in sorted(set(paths.values())):
        parts = PurePosixPath(path).parts
        if parts[:4] != ("/", "sys", "fs", "cgroup"):
            continue
        target = "/sys/fs/cgroup" if "" in paths else f"/sys/fs/cgroup/{parts[4]}"
        shown += ["--ro-bind", path, target]
    return shown


def entries() -> dict[str, bool]:
    """Return what lies in this machine's ``/proc`` beside processes, and whether each is a directory."""
    found = {}
    for place, prefix in (("/proc", ""), ("/proc/sys", "sys/")):
        with os.scandir(place) as listed:
            for entry in listed:
                if not entry.name.isdigit() and not entry.is_symlink():
                    found[prefix + entry.name] = entry.is_dir(follow_symlinks=False)
    return found


def _host() -> dict[str, str]:
    paths = ["/proc/cpuinfo", "/proc/stat", "/proc/cgroups"]
    paths += [f"/proc/sys/{name}" for name in _SYSCTLS]
    found = {}
    for path in paths:
        with contextlib.suppress(OSError), open(path, errors="replace") as file:
            found[path] = file.read(-1 if path.startswith("/proc/c") else _MOST_OF_A_VALUE)
    found["/proc/cpuinfo"] = _without_frequencies(found.get("/proc/cpuinfo", ""))
    return found


def _without_frequencies(text: str) -> str:
    """Leave out what is another at each look, so that one directory serves all containers."""
    return "\n".join(line for line in text.split("\n") if not line.startswith("cpu MHz"))
