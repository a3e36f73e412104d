"""Packets of SFTP, version 3 (draft-ietf-secsh-filexfer-02): read, written. No I/O."""

from __future__ import annotations

import os
import stat
import struct
import time
from dataclasses import dataclass

INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT = range(1, 11)
OPENDIR, READDIR, REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK = range(11, 21)
STATUS, HANDLE, DATA, NAME, ATTRS = range(101, 106)
EXTENDED, EXTENDED_REPLY = 200, 201

OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE = range(6)
OP_UNSUPPORTED = 8

_SIZE, _OWNER, _PERMISSIONS, _TIMES, _EXTENDED = 1, 2, 4, 8, 0x80000000
_HALF_A_YEAR = 180 * 86400


class BadPacket(ValueError):
    """A packet is not as the protocol has it."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is to be set; None stays as it is. Times are access and change, in seconds."""

    size: int | None = None
    owner: tuple[int, int] | None = None
    mode: int | None = None
    times: tuple[int, int] | None = None


class Reader:
    """Reads the fields of one packet. Raises BadPacket when there are too few bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """Read a byte."""
        return int(self._take("B", 1))

    def number(self) -> int:
        """Read 32 bits."""
        return int(self._take(">I", 4))

    def long(self) -> int:
        """Read 64 bits."""
        return int(self._take(">Q", 8))

    def string(self) -> bytes:
        """Read bytes behind their length."""
        size = self.number()
        end = self._at + size
        if end > len(self._data):
            raise BadPacket("a string is cut off")
        found = self._data[self._at : end]
        self._at = end
        return found

    def attributes(self) -> Attributes:
        """Read attributes; extended ones are dropped."""
        flags = self.number()
        size = self.long() if flags & _SIZE else None
        owner = (self.number(), self.number()) if flags & _OWNER else None
        mode = self.number() if flags & _PERMISSIONS else None
        times = (self.number(), self.number()) if flags & _TIMES else None
        if flags & _EXTENDED:
            for _ in range(min(self.number(), len(self._data))):
                self.string()
                self.string()
        return Attributes(size, owner, mode, times)

    def _take(self, form: str, size: int) -> int:
        try:
            (found,) = struct.unpack_from(form, self._data, self._at)
        except struct.error:
            raise BadPacket("the packet is cut off") from None
        self._at += size
        return int(found)


def packet(kind: int, *parts: bytes) -> bytes:
    """Return a packet with its length."""
    body = b"".join(parts)
    return struct.pack(">IB", len(body) + 1, kind) + body


def number(value: int) -> bytes:
    """Return 32 bits."""
    return struct.pack(">I", value & 0xFFFFFFFF)


def long(value: int) -> bytes:
    """Return 64 bits."""
    return struct.pack(">Q", value & 0xFFFFFFFFFFFFFFFF)


def string(value: bytes) -> bytes:
    """Return bytes behind their length."""
    return number(len(value)) + value


def attributes(found: os.stat_result) -> bytes:
    """Return what is known of a file."""
    flags = _SIZE | _OWNER | _PERMISSIONS | _TIMES
    return b"".join(
        (
            number(flags),
            long(found.st_size),
            number(found.st_uid),
            number(found.st_gid),
            number(found.st_mode),
            number(max(0, int(found.st_atime))),
            number(max(0, int(found.st_mtime))),
        )
    )


def long_name(name: bytes, found: os.stat_result, now: float) -> bytes:
    """Return a line as ``ls -l`` prints it, which clients show as it is."""
    changed = time.gmtime(found.st_mtime)
    recent = 0 <= now - found.st_mtime < _HALF_A_YEAR
    when = time.strftime("%b %d %H:%M" if recent else "%b %d  %Y", changed)
    line = (
        f"{stat.filemode(found.st_mode)} {found.st_nlink:4d} {found.st_uid:<8d} {found.st_gid:<8d}"
        f" {found.st_size:8d} {when} "
    )
    return line.encode() + name
