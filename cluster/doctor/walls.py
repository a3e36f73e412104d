"""The walls between users: which of them this machine lets the server build, and what it means where not.

One list for ``coditect doctor`` and the page for operators. Facts in, verdicts out; ``doctor.py`` looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.doctor.checks import Check, Verdict

_GIB = 1 << 30
_AS_ROOT = "start the server as root"


@dataclass(frozen=True, slots=True)
class WallFacts:
    """Facts found out by trying.

    ``controllers`` are those of control groups; ``ids_failure`` and ``disk_failure`` say why root has no user
    ids or no disks for containers; ``disk_size`` is the setting, 0 without a limit. ``filtered`` is whether
    there is a filter of system calls for this kind of ``machine``. ``limits_failure`` says why an ordinary
    user could not limit a container from outside.
    """

    is_root: bool
    controllers: frozenset[str]
    ids_failure: str | None = None
    ids_are_mapped: bool = True
    disk_size: int = 0
    disk_failure: str | None = None
    machine: str = "x86_64"
    filtered: bool = True
    limits_failure: str | None = None


def walls(facts: WallFacts) -> list[Check]:
    """Judge every wall; a warning has what its absence means, and the remedy."""
    of_root = _of_root(facts) if facts.is_root else _of_an_ordinary_user(facts)
    return [*of_root, _disks(facts), *_groups(facts.controllers), _filter(facts)]


def lacking(checks: list[Check]) -> list[Check]:
    """Return what is not there."""
    return [check for check in checks if check.verdict is not Verdict.OK]


def _of_root(facts: WallFacts) -> Iterator[Check]:
    if facts.ids_failure is not None:
        advice = (
            "set CODITECT_CONTAINER_USER_IDS to ids that this machine (or its user namespace) has"
        )
        yield Check("container ids", Verdict.ERROR, facts.ids_failure, advice)
    else:
        yield Check("container ids", Verdict.OK, "one each, and another for its agent")
    if facts.ids_are_mapped:
        yield Check("mapped mounts", Verdict.OK, "files follow their container's id")
    else:
        found = (
            "none here: files change hands at every launch, which takes as long as there are files"
        )
        advice = "keep the data directory on ext4, xfs or btrfs, with Linux 5.12 or newer"
        yield Check("mapped mounts", Verdict.WARNING, found, advice)
    yield Check("namespace limits", Verdict.OK, "user.max_* for each container")
    yield from _limits(None)


def _of_an_ordinary_user(facts: WallFacts) -> Iterator[Check]:
    shared = {
        "container ids": (
            "all containers have the server's user id: what the kernel counts by it (epoll watches, inotify"
            " instances, pages of pipes, POSIX queues, keys, pending signals, locked memory), one container"
            " can use up for all others and for the server"
        ),
        "agent's id": (
            "a workspace's agent has the user's id: `kill -9 -1` or `pkill -u user` inside ends it. It is"
            " started again, and shells and programs run on"
        ),
        "mapped mounts": (
            "files of all workspaces belong to the server's user: only the containers' mounts part them"
        ),
        "namespace limits": (
            "user.max_* are not set in containers: one can use up the inotify watches and instances of"
            " the server's user"
        ),
    }
    for name, found in shared.items():
        yield Check(name, Verdict.WARNING, found, f"{_AS_ROOT} for untrusted users")
    yield from _limits(facts.limits_failure)


def _limits(failure: str | None) -> Iterator[Check]:
    names = {
        "terminals": (
            "a limit for each container",
            "no limit for each container: one can take every pseudo-terminal of the machine",
        ),
        "memory file systems": (
            "files in /tmp and /dev/shm, and SysV segments, are limited",
            "no limit of files in /tmp and /dev/shm, and of SysV segments: one can take more than its memory",
        ),
    }
    for name, (had, lack) in names.items():
        if failure is None:
            yield Check(name, Verdict.OK, had)
        else:
            advice = f"install util-linux (nsenter, mount), or {_AS_ROOT}"
            yield Check(name, Verdict.WARNING, f"{lack} ({failure})", advice)


def _disks(facts: WallFacts) -> Check:
    name = "container disks"
    if facts.disk_size == 0:
        advice = (
            "set CODITECT_CONTAINER_DISK" if facts.is_root else f"{_AS_ROOT}, with container_disk"
        )
        return Check(
            name, Verdict.WARNING, "no limit is set: one container can fill the disk of all", advice
        )
    failure = facts.disk_failure if facts.is_root else "an ordinary user may not mount any"
    if failure is None:
        return Check(name, Verdict.OK, f"{facts.disk_size / _GIB:.1f} GiB each")
    return Check(
        name,
        Verdict.WARNING,
        "no limit of bytes and files while programs write: one container can fill the disk of all"
        f" ({failure})",
        f"{_AS_ROOT}, with mkfs.ext4 (e2fsprogs) and loop devices, Linux 5.8 or newer",
    )


_GROUPS = {
    "memory": "one container can use up the machine's memory",
    "cpu": "one container can keep all processors busy",
    "pids": "processes are limited by RLIMIT_NPROC, which Linux before 5.14 counts over all containers",
}


def _groups(controllers: frozenset[str]) -> Iterator[Check]:
    advice = f"{_AS_ROOT}, or in a delegated group: systemd-run --user -p Delegate=yes --scope"
    for controller, meaning in _GROUPS.items():
        if controller in controllers:
            yield Check(f"{controller} limit", Verdict.OK, "by a control group for each container")
        else:
            found = f"no control group: {meaning}"
            yield Check(f"{controller} limit", Verdict.WARNING, found, advice)


def _filter(facts: WallFacts) -> Check:
    if facts.filtered:
        return Check("seccomp", Verdict.OK, f"filter for {facts.machine}")
    found = f"no filter for {facts.machine}: containers may make every system call of the kernel"
    return Check("seccomp", Verdict.WARNING, found, "use x86_64 or aarch64 for untrusted users")
