"""Furnishes a container from outside, as root, between its set-up and its first program.

bubblewrap mounts pseudo-terminals and memory without a limit, and cannot mount with mapped owners.
So the container waits at its gate while this is done in its namespaces. All of it blocks, for less
than a millisecond, and raises OSError.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from cluster.runtime.ids.userns import owner_map
from cluster.runtime.root import mounts
from cluster.runtime.root.rootfs import PTS, SHM, TMP, WORKSPACE
from cluster.runtime.root.tables import Tables
from cluster.runtime.trees import give

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
    """Say whether a mount of a directory can show files of one id as another's; nothing stays behind."""
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
