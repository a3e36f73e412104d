"""Furnishes a container from outside, as root, between its set-up and its first program.

bubblewrap mounts pseudo-terminals and memory without a limit, and cannot mount with mapped owners.
So the container waits at its gate while this is done in its namespaces. All of it blocks, for less
than a millisecond, and raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
from pathlib import Path

from cluster.runtime.ids.userns import owner_map
from cluster.runtime.root import mounts
from cluster.runtime.root.rootfs import PTS, SHM, TMP, WORKSPACE
from cluster.runtime.root.tables import Tables
from cluster.runtime.trees import give

_GET_USER_NAMESPACE = 0xB701
"""Of a namespace, that of its owner (ioctl_nsfs(2))."""

_SECONDS = 10.0
_CANNOT_MAP = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)


def show_as(tree: int, host_id: int) -> bool:
    """Make ``host_id`` the owner of everything on a new mount by a map; nothing on it is a device.

    The files stay whose they are on disk. False where the kernel or the file system cannot map owners (Linux
    before 5.12, some network file systems).
    """
    on_disk = os.fstat(tree).st_uid
    return on_disk != host_id and _map_owner(tree, on_disk, host_id)


def hand_over(tree: int, host_id: int) -> None:
    """Do the same where owners cannot be mapped: files change hands, which takes as long as there are any."""
    give(Path(f"/proc/self/fd/{tree}/."), host_id)
    mounts.guard(tree, None)


def can_map(path: Path, on_disk: int, host_id: int) -> bool:
    """Return whether a mount of a directory can show files of one id as another's; nothing stays behind."""
    tree = mounts.clone(str(path))
    try:
        return _map_owner(tree, on_disk, host_id)
    finally:
        os.close(tree)


def _map_owner(tree: int, on_disk: int, host_id: int) -> bool:
    with owner_map(on_disk, host_id) as namespace:
        try:
            mounts.guard(tree, namespace)
        except OSError as error:
            if error.errno in _CANNOT_MAP:
                return False
            raise
    return True


def furnish(init: int, workspace: int, shares: Tables) -> None:
    """Set limits in the namespaces of the process ``init``, and show it its workspace (a mount)."""
    mounts.within(init, ("ipc",), lambda: _limit_ipc(shares))
    mounts.within(init, ("mnt",), lambda: _furnish_mounts(workspace, shares))


def limit_as_maker(init: int, shares: Tables) -> None:
    """Set the limits of ``furnish`` as an ordinary user, who has made the container's namespaces.

    By tools of util-linux, since a process of several threads cannot enter a user namespace (setns(2)).
    """
    ipc = f"echo {shares.shm_pages} >/proc/sys/kernel/shmall"
    mnt = (
        f"mount -o remount,ptmxmode=0666,mode=620,max={shares.ptys} {PTS}"
        f" && mount -o remount,nr_inodes={shares.tmp_inodes} {TMP}"
        f" && mount -o remount,nr_inodes={shares.shm_inodes} {SHM}"
    )
    for kind, script in (("ipc", ipc), ("mnt", mnt)):
        with contextlib.ExitStack() as opened:
            namespace = os.open(f"/proc/{init}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            opened.callback(os.close, namespace)
            owner = fcntl.ioctl(namespace, _GET_USER_NAMESPACE)
            opened.callback(os.close, owner)
            _enter(owner, kind, namespace, script)


def _enter(owner: int, kind: str, namespace: int, script: str) -> None:
    option = {"ipc": "--ipc", "mnt": "--mount"}[kind]
    entered = [f"--user=/proc/self/fd/{owner}", f"{option}=/proc/self/fd/{namespace}"]
    try:
        done = subprocess.run(
            ["nsenter", *entered, "--preserve-credentials", "--", "/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            pass_fds=(owner, namespace),
        )
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIME, f"nsenter did not end within {_SECONDS:g} s") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise OSError(errno.EPERM, said[-1] if said else f"nsenter ended with {done.returncode}")


def _limit_ipc(shares: Tables) -> None:
    Path("/proc/sys/kernel/shmall").write_text(str(shares.shm_pages), encoding="ascii")


def _furnish_mounts(workspace: int, shares: Tables) -> None:
    mounts.attach(workspace, WORKSPACE)
    limit_terminals(shares.ptys)
    mounts.reconfigure(TMP, {"nr_inodes": str(shares.tmp_inodes)})
    mounts.reconfigure(SHM, {"nr_inodes": str(shares.shm_inodes)})


def limit_terminals(ptys: int) -> None:
    """Let no more pseudo-terminals be opened in this mount namespace; modes are as bubblewrap sets them."""
    mounts.reconfigure(PTS, {"ptmxmode": "0666", "mode": "620", "max": str(ptys)})
