"""One container's share of the machine's tables, in numbers. ``furnish.py`` sets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MOST_OPEN_FILES = 65_536
_FEWEST_OPEN_FILES = 256
_TASKS_OF_ITS_OWN = 8
_PAGE = 4096
_BYTES_OF_AN_INODE = 8192

NAMESPACE_LIMITS: Mapping[str, int] = {
    # One each is what the container itself is made of. Those below it are made by nobody.
    "max_user_namespaces": 0,
    "max_mnt_namespaces": 1,
    "max_pid_namespaces": 1,
    "max_net_namespaces": 1,
    "max_ipc_namespaces": 1,
    "max_uts_namespaces": 1,
    "max_cgroup_namespaces": 1,
    # CODI watches with one; the rest is for people's editors and servers.
    "max_inotify_instances": 128,
    "max_inotify_watches": 262_144,
}
"""Files of ``/proc/sys/user``, set inside each container's user namespace: for all of its users together."""


@dataclass(frozen=True, slots=True)
class Tables:
    """One container's shares.

    Pseudo-terminals, descriptors of each process, pages of SysV shared memory, and files of each
    file system in memory.
    """

    ptys: int
    open_files: int
    shm_pages: int
    tmp_inodes: int
    shm_inodes: int


def tables(
    *, ptys: int, pids: int, memory_bytes: int, tmp_bytes: int, shm_bytes: int, file_max: int
) -> Tables:
    """Return the shares of a container; ``file_max``: see ``open_files``."""
    return Tables(
        ptys=ptys,
        open_files=open_files(file_max, pids),
        shm_pages=max(1, memory_bytes // _PAGE),
        tmp_inodes=max(1024, tmp_bytes // _BYTES_OF_AN_INODE),
        shm_inodes=max(1024, shm_bytes // _BYTES_OF_AN_INODE),
    )


def open_files(file_max: int, pids: int) -> int:
    """Return how many descriptors a process may have, if there are ``pids`` of them in a container.

    ``file_max`` is what the machine can have open (``fs.file-max``): all of one container together
    get at most three quarters of it.
    """
    share = file_max * 3 // 4 // (pids + _TASKS_OF_ITS_OWN)
    return max(_FEWEST_OPEN_FILES, min(MOST_OPEN_FILES, share))
