"""The calls of Linux that Python has no names for: prctl(2), openat2(2), renameat2(2), syncfs(2)."""

from __future__ import annotations

import ctypes
import errno
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYS_OPENAT2 = 437  # the same on every architecture
_RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 0x02, 0x08
_RENAME_NOREPLACE = 1
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
_BENEATH_ATTEMPTS = 8


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def close_to_others() -> None:
    """Keep other processes of the same user from reading this one's memory or tracing it."""
    _prctl(_PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent ends, so that they are reaped."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def open_beneath(directory: int, path: bytes, flags: int) -> int:
    """Open a relative path that may not lead out of ``directory``, by links or otherwise.

    Raises OSError: EXDEV when it does, ENOSYS or EPERM on kernels and filters without openat2.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    for _ in range(_BENEATH_ATTEMPTS):
        fd = _LIBC.syscall(
            _SYS_OPENAT2, directory, ctypes.c_char_p(path), ctypes.byref(how), ctypes.sizeof(how)
        )
        if fd >= 0:
            return int(fd)
        number = ctypes.get_errno()
        # EAGAIN: something was renamed meanwhile, and ".." could not be proven safe.
        if number not in {errno.EAGAIN, errno.EINTR}:
            raise OSError(number, os.strerror(number))
    raise OSError(errno.EXDEV, "the path changes while it is looked up")


def rename_new(source_directory: int, source: bytes, target_directory: int, target: bytes) -> None:
    """Rename without overwriting. Raises FileExistsError and other OSError."""
    arguments = (source_directory, ctypes.c_char_p(source), target_directory)
    if _LIBC.renameat2(*arguments, ctypes.c_char_p(target), _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def sync_filesystem(fd: int) -> None:
    """Bring all that was written to the file system of an open file to its disk. Raises OSError."""
    if _LIBC.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
