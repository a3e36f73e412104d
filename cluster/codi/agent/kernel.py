"""The calls of Linux that Python has no names for: prctl(2), openat2(2), renameat2(2), syncfs(2)."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYS_OPENAT2 = 437  # the same on every architecture
_RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 0x02, 0x08
_RENAME_NOREPLACE = 1
_PR_SET_DUMPABLE, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 4, 15, 36
_ARG_START, _ARG_END = 45, 46  # of what follows the name in /proc/PID/stat (proc(5))
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


def rename(name: str) -> None:
    """Be shown under this name only: people end programs by the names that they see of them."""
    _LIBC.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0)
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b") ")[2].split()
    begin, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    if 0 < begin < end - len(name):  # the kernel keeps them to itself where proc is restricted
        ctypes.memset(begin, 0, end - begin)
        ctypes.memmove(begin, name.encode(), len(name))


class Signals:
    """Signals as they come, with who sent them, which ``signal`` does not know. See signalfd(2)."""

    _INFO = struct.Struct("=IiiI112x")

    def __init__(self, *numbers: int) -> None:
        wanted = (ctypes.c_ulong * 16)()
        for number in numbers:
            _LIBC.sigaddset(wanted, number)
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        self.descriptor = _LIBC.signalfd(-1, wanted, os.O_CLOEXEC | os.O_NONBLOCK)

    def sender(self) -> int:
        """Return the pid of who sent the next one; 0: somebody outside of this pid namespace."""
        return int(self._INFO.unpack(os.read(self.descriptor, self._INFO.size))[3])


def open_to_others() -> None:
    """Take ``close_to_others`` back."""
    _prctl(_PR_SET_DUMPABLE, 1)


def lock_out_signals() -> None:
    """Be out of reach of signals from programs that one has started, where there is a second user.

    A signal reaches processes by their real and saved user (kill(2)); files and everything else are
    a matter of the effective one. Where CODI was started with a real user of its own, it keeps that.
    """
    real, effective, _ = os.getresuid()
    if real != effective:
        os.setresuid(real, effective, real)


@contextmanager
def as_user() -> Iterator[None]:
    """Be entirely the effective user for a moment, in which a program is started as that one."""
    real, effective, saved = os.getresuid()
    if real == effective:
        yield
        return
    os.setresuid(effective, effective, saved)
    try:
        yield
    finally:
        os.setresuid(real, effective, saved)


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
