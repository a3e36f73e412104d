"""The kernel's file events, inotify(7), for a directory tree: which name in which directory changed.

Only the calls and the wire format are here; ``watcher`` knows what to do about an event.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

_LIBC = ctypes.CDLL(None, use_errno=True)
_HEADER = struct.Struct("=iIII")
_BUFFER = 64 << 10

MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
UNMOUNT, OVERFLOW, IGNORED = 0x2000, 0x4000, 0x8000
IS_DIRECTORY = 0x4000_0000
_ONLYDIR, _DONT_FOLLOW, _EXCL_UNLINK = 0x0100_0000, 0x0200_0000, 0x0400_0000
_MASK = (
    MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE
    | _ONLYDIR | _DONT_FOLLOW | _EXCL_UNLINK
)  # fmt: skip


class Event(NamedTuple):
    """Something happened to ``name`` in the directory that ``watch`` stands for."""

    watch: int
    mask: int
    name: bytes


class Inotify:
    """One inotify instance. Raises OSError: EMFILE or ENOSPC where the user's limits are reached."""

    def __init__(self) -> None:
        self.fd: int = _checked(_LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def add_open(self, directory: int) -> int:
        """Watch an open directory; return its number, the same for the same directory."""
        return self.add(b"/proc/self/fd/%d/." % directory)

    def add(self, path: bytes) -> int:
        """Watch a directory by its path, of up to 4,096 bytes."""
        return _checked(_LIBC.inotify_add_watch(self.fd, ctypes.c_char_p(path), _MASK))

    def read(self) -> Iterator[Event]:
        """Yield the events of one read, without waiting."""
        try:
            data = os.read(self.fd, _BUFFER)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, mask, _cookie, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            yield Event(watch, mask, data[offset : offset + length].rstrip(b"\0"))
            offset += length

    def close(self) -> None:
        """Let go of every watch. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
