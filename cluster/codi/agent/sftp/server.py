"""Serves files on standard input and output, until the input ends. Blocking: it is a process of its own.

Every path is what the kernel makes of it for the user that runs this, no more and no less: an SFTP client may
do what a shell may. Requests are answered in their order; at most one packet and a batch of answers are held.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator

from cluster.codi.agent.sftp import wire
from cluster.codi.agent.sftp.wire import Attributes, BadPacket, Reader, number, string

MAX_PACKET = 256 << 10
MAX_READ = MAX_PACKET - 1024
MAX_HANDLES = 512
_MAX_NAMES = 128
_BATCH = 256 << 10
_READ, _WRITE, _APPEND, _CREATE, _TRUNCATE, _EXCLUSIVE = 1, 2, 4, 8, 16, 32
_EXTENSIONS = (
    (b"posix-rename@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
    (b"fstatvfs@openssh.com", b"2"),
    (b"hardlink@openssh.com", b"1"),
    (b"fsync@openssh.com", b"1"),
    (b"lsetstat@openssh.com", b"1"),
    (b"limits@openssh.com", b"1"),
    (b"expand-path@openssh.com", b"1"),
)
_CODES = {
    errno.ENOENT: wire.NO_SUCH_FILE,
    errno.ENOTDIR: wire.NO_SUCH_FILE,
    errno.ELOOP: wire.NO_SUCH_FILE,
    errno.EPERM: wire.PERMISSION_DENIED,
    errno.EACCES: wire.PERMISSION_DENIED,
    errno.EROFS: wire.PERMISSION_DENIED,
}


class _Directory:
    """An open directory, read piece by piece."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.scan = os.scandir(path)
        self.names: Iterator[bytes] = self._all()

    def _all(self) -> Iterator[bytes]:
        yield from (b".", b"..")
        for entry in self.scan:
            yield entry.name


class SftpServer:
    """Answers packets. ``now`` is the time for listings."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._files: dict[bytes, int] = {}
        self._appending: set[bytes] = set()
        self._directories: dict[bytes, _Directory] = {}
        self._next = 0
        self._calls: dict[int, Callable[[Reader, bytes], bytes]] = {
            wire.OPEN: self._open,
            wire.CLOSE: self._close,
            wire.READ: self._read,
            wire.WRITE: self._write,
            wire.LSTAT: lambda given, ident: _attrs(ident, os.lstat(given.string() or b".")),
            wire.STAT: lambda given, ident: _attrs(ident, os.stat(given.string() or b".")),
            wire.FSTAT: lambda given, ident: _attrs(ident, os.fstat(self._file(given))),
            wire.SETSTAT: self._setstat,
            wire.FSETSTAT: self._fsetstat,
            wire.OPENDIR: self._opendir,
            wire.READDIR: self._readdir,
            wire.REMOVE: self._remove,
            wire.MKDIR: self._mkdir,
            wire.RMDIR: self._rmdir,
            wire.REALPATH: self._realpath,
            wire.RENAME: self._rename,
            wire.READLINK: self._readlink,
            wire.SYMLINK: self._symlink,
            wire.EXTENDED: self._extended,
        }
        self._extensions: dict[bytes, Callable[[Reader, bytes], bytes]] = {
            b"posix-rename@openssh.com": self._posix_rename,
            b"statvfs@openssh.com": lambda given, ident: _room(ident, given.string()),
            b"fstatvfs@openssh.com": lambda given, ident: _room(ident, self._file(given)),
            b"hardlink@openssh.com": self._hardlink,
            b"fsync@openssh.com": self._fsync,
            b"lsetstat@openssh.com": self._lsetstat,
            b"limits@openssh.com": _limits,
            b"expand-path@openssh.com": self._expand,
        }

    def answer(self, body: bytes) -> bytes:
        """Return the answer to a packet. Raises BadPacket for one that cannot be answered."""
        given = Reader(body)
        kind = given.byte()
        if kind == wire.INIT:
            given.number()
            pairs = (string(name) + string(version) for name, version in _EXTENSIONS)
            return wire.packet(wire.VERSION, number(3), *pairs)
        ident = number(given.number())
        call = self._calls.get(kind)
        if call is None:
            return _status(ident, wire.OP_UNSUPPORTED, "there is no such request")
        try:
            return call(given, ident)
        except OSError as error:
            code = _CODES.get(error.errno or 0, wire.FAILURE)
            return _status(ident, code, error.strerror or "failure")
        except BadPacket as error:
            return _status(ident, wire.BAD_MESSAGE, str(error))
        except (ValueError, OverflowError) as error:  # a NUL in a name, a number out of range
            return _status(ident, wire.FAILURE, str(error))

    def close(self) -> None:
        """Close what was left open."""
        for fd in self._files.values():
            os.close(fd)
        for directory in self._directories.values():
            directory.scan.close()
        self._files.clear()
        self._directories.clear()

    # ---- handles --------------------------------------------------------------------------------

    def _handle(self) -> bytes:
        if len(self._files) + len(self._directories) >= MAX_HANDLES:
            raise OSError(errno.EMFILE, f"up to {MAX_HANDLES} handles at once")
        self._next += 1
        return b"%d" % self._next

    def _file(self, given: Reader) -> int:
        found = self._files.get(given.string())
        if found is None:
            raise OSError(errno.EBADF, "no such handle")
        return found

    def _open(self, given: Reader, ident: bytes) -> bytes:
        path, flags, wanted = given.string(), given.number(), given.attributes()
        handle = self._handle()
        how = os.O_CLOEXEC | os.O_NOCTTY
        if flags & _READ and flags & _WRITE:
            how |= os.O_RDWR
        elif flags & _WRITE:
            how |= os.O_WRONLY
        for flag, meaning in (
            (_APPEND, os.O_APPEND),
            (_CREATE, os.O_CREAT),
            (_TRUNCATE, os.O_TRUNC),
            (_EXCLUSIVE, os.O_EXCL),
        ):
            how |= meaning if flags & flag else 0
        mode = 0o666 if wanted.mode is None else wanted.mode & 0o7777
        self._files[handle] = os.open(path, how, mode)
        if flags & _APPEND:
            self._appending.add(handle)
        return wire.packet(wire.HANDLE, ident, string(handle))

    def _opendir(self, given: Reader, ident: bytes) -> bytes:
        handle = self._handle()
        self._directories[handle] = _Directory(given.string() or b".")
        return wire.packet(wire.HANDLE, ident, string(handle))

    def _close(self, given: Reader, ident: bytes) -> bytes:
        handle = given.string()
        if handle in self._files:
            self._appending.discard(handle)
            os.close(self._files.pop(handle))
        elif handle in self._directories:
            self._directories.pop(handle).scan.close()
        else:
            raise OSError(errno.EBADF, "no such handle")
        return _ok(ident)

    # ---- contents -------------------------------------------------------------------------------

    def _read(self, given: Reader, ident: bytes) -> bytes:
        fd, offset, size = self._file(given), given.long(), given.number()
        data = os.pread(fd, min(size, MAX_READ), offset)
        if not data and size:
            return _status(ident, wire.EOF, "end of file")
        return wire.packet(wire.DATA, ident, string(data))

    def _write(self, given: Reader, ident: bytes) -> bytes:
        handle = given.string()
        fd = self._files.get(handle)
        if fd is None:
            raise OSError(errno.EBADF, "no such handle")
        offset, view = given.long(), memoryview(given.string())
        while view:
            appends = handle in self._appending
            count = os.write(fd, view) if appends else os.pwrite(fd, view, offset)
            offset, view = offset + count, view[count:]
        return _ok(ident)

    def _readdir(self, given: Reader, ident: bytes) -> bytes:
        directory = self._directories.get(given.string())
        if directory is None:
            raise OSError(errno.EBADF, "no such handle")
        parts, now = [], self._now()
        for name in directory.names:
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(os.path.join(directory.path, name))
                shown = string(wire.long_name(name, found, now))
                parts.append(string(name) + shown + wire.attributes(found))
            if len(parts) >= _MAX_NAMES:
                break
        if not parts:
            return _status(ident, wire.EOF, "end of directory")
        return wire.packet(wire.NAME, ident, number(len(parts)), *parts)

    # ---- attributes -----------------------------------------------------------------------------

    def _setstat(self, given: Reader, ident: bytes) -> bytes:
        _set(given.string(), given.attributes())
        return _ok(ident)

    def _fsetstat(self, given: Reader, ident: bytes) -> bytes:
        _set(self._file(given), given.attributes())
        return _ok(ident)

    def _lsetstat(self, given: Reader, ident: bytes) -> bytes:
        path, wanted = given.string(), given.attributes()
        if wanted.size is not None:
            raise OSError(errno.EINVAL, "a link has no size to set")
        if wanted.owner is not None:
            os.lchown(path, *wanted.owner)
        if wanted.mode is not None and not stat.S_ISLNK(os.lstat(path).st_mode):
            os.chmod(path, wanted.mode & 0o7777)
        if wanted.times is not None:
            os.utime(path, wanted.times, follow_symlinks=False)
        return _ok(ident)

    # ---- names ----------------------------------------------------------------------------------

    def _remove(self, given: Reader, ident: bytes) -> bytes:
        os.unlink(given.string())
        return _ok(ident)

    def _mkdir(self, given: Reader, ident: bytes) -> bytes:
        path, wanted = given.string(), given.attributes()
        os.mkdir(path, 0o777 if wanted.mode is None else wanted.mode & 0o7777)
        return _ok(ident)

    def _rmdir(self, given: Reader, ident: bytes) -> bytes:
        os.rmdir(given.string())
        return _ok(ident)

    def _realpath(self, given: Reader, ident: bytes) -> bytes:
        return _name(ident, os.path.realpath(given.string() or b"."))

    def _expand(self, given: Reader, ident: bytes) -> bytes:
        return _name(ident, os.path.realpath(os.path.expanduser(given.string() or b".")))

    def _readlink(self, given: Reader, ident: bytes) -> bytes:
        return _name(ident, os.readlink(given.string()))

    def _rename(self, given: Reader, ident: bytes) -> bytes:
        """Rename; a file that is there already is left alone (draft, section 6.5)."""
        old, new = given.string(), given.string()
        if not stat.S_ISREG(os.lstat(old).st_mode):
            if os.path.lexists(new):
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
            os.rename(old, new)
            return _ok(ident)
        os.link(old, new, follow_symlinks=False)
        os.unlink(old)
        return _ok(ident)

    def _posix_rename(self, given: Reader, ident: bytes) -> bytes:
        os.rename(given.string(), given.string())
        return _ok(ident)

    def _symlink(self, given: Reader, ident: bytes) -> bytes:
        """Make a link: the target first, as OpenSSH and all that follow it have it."""
        os.symlink(given.string(), given.string())
        return _ok(ident)

    def _hardlink(self, given: Reader, ident: bytes) -> bytes:
        os.link(given.string(), given.string(), follow_symlinks=False)
        return _ok(ident)

    def _fsync(self, given: Reader, ident: bytes) -> bytes:
        os.fsync(self._file(given))
        return _ok(ident)

    def _extended(self, given: Reader, ident: bytes) -> bytes:
        call = self._extensions.get(given.string())
        if call is None:
            return _status(ident, wire.OP_UNSUPPORTED, "there is no such extension")
        return call(given, ident)


def _set(what: bytes | int, wanted: Attributes) -> None:
    if wanted.size is not None:
        os.truncate(what, wanted.size)
    if wanted.owner is not None:
        os.chown(what, *wanted.owner)
    if wanted.mode is not None:
        os.chmod(what, wanted.mode & 0o7777)
    if wanted.times is not None:
        os.utime(what, wanted.times)


def _status(ident: bytes, code: int, text: str) -> bytes:
    return wire.packet(
        wire.STATUS, ident, number(code), string(text.encode("utf-8", "replace")), string(b"")
    )


def _ok(ident: bytes) -> bytes:
    return _status(ident, wire.OK, "")


def _attrs(ident: bytes, found: os.stat_result) -> bytes:
    return wire.packet(wire.ATTRS, ident, wire.attributes(found))


def _name(ident: bytes, path: bytes) -> bytes:
    return wire.packet(wire.NAME, ident, number(1), string(path), string(path), number(0))


def _room(ident: bytes, what: bytes | int) -> bytes:
    found = os.statvfs(what)
    values = (
        found.f_bsize,
        found.f_frsize,
        found.f_blocks,
        found.f_bfree,
        found.f_bavail,
        found.f_files,
        found.f_ffree,
        found.f_favail,
        found.f_fsid,
        found.f_flag & (os.ST_RDONLY | os.ST_NOSUID),
        found.f_namemax,
    )
    return wire.packet(wire.EXTENDED_REPLY, ident, *map(wire.long, values))


def _limits(_given: Reader, ident: bytes) -> bytes:
    values = (MAX_PACKET, MAX_READ, MAX_READ, MAX_HANDLES)
    return wire.packet(wire.EXTENDED_REPLY, ident, *map(wire.long, values))


def main() -> None:
    """Serve standard input until it ends, or says what is no SFTP."""
    server, data, out = SftpServer(), bytearray(), bytearray()
    try:
        while True:
            while len(data) >= 4:
                size = int.from_bytes(data[:4], "big")
                if not 0 < size <= MAX_PACKET:
                    sys.exit(f"sftp: a packet of {size} bytes")
                if len(data) < 4 + size:
                    break
                out += server.answer(bytes(data[4 : 4 + size]))
                del data[: 4 + size]
                if len(out) >= _BATCH:
                    _flush(out)
            _flush(out)
            more = os.read(0, MAX_PACKET)
            if not more:
                return
            data += more
    except BadPacket as error:
        sys.exit(f"sftp: {error}")
    except BrokenPipeError:
        return
    finally:
        server.close()


def _flush(out: bytearray) -> None:
    with memoryview(out) as view:
        done = 0
        while done < len(view):
            done += os.write(1, view[done:])
    out.clear()
