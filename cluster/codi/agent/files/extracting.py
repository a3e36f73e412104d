"""Unpacking a tar stream below a directory of the workspace. Blocking: run in a thread of its own.

Nothing that an archive says leads out of its directory: names are relative and without ``..``, no link is
followed on the way (each directory is opened by its name, ``O_NOFOLLOW``), and a link whose target is not in
the workspace is not made. A file is written beside its place and renamed into it: whoever reads sees the old
one or the new one. What cannot be made is named, and the rest is. Headers, entries, depth and bytes are
bounded, so an archive is no bomb: what it may fill is its container's own disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, Self, cast

from cluster.codi.agent import kernel
from cluster.codi.agent.errors import AgentError, invalid
from cluster.codi.agent.files import temporary
from cluster.codi.agent.files.paths import Workspace, parse

MAX_ENTRIES = 1_000_000
MAX_BYTES = 64 << 30
"""Bytes of the stream, unpacked: those of what is left out, too."""

MAX_DEPTH = 128
MAX_FAILED = 1000
_MAX_HEADER = 1 << 20
_MAX_GLOBAL = 64 << 10
_PADDING_PARTS = 16
_MAX_NAME = 4000  # what is longer is not archived (``changes.watcher``)
_MAX_OPEN = 64
_PART = 256 << 10
_PERMISSIONS, _OWNER = 0o777, 0o700
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = {errno.ENOSPC, errno.EDQUOT}
_HEADERS = frozenset(
    (
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    )
)
_GZIP = b"\x1f\x8b"
_BAD = (tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError, RecursionError)


class Refused(Exception):
    """An entry that is not made, for the reason in its text."""


class _Info(tarfile.TarInfo):
    """An entry whose headers are bounded: the library holds them in memory whatever their size says."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Read an entry; the library takes one that is damaged or cut off for the archive's end."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse_sparse()
        if self.type == tarfile.XGLTYPE:
            if self.size > _MAX_GLOBAL:
                raise tarfile.ReadError("a header is too large")
            archive.pax_headers = {}  # else each adds to those before
        if self.type in _HEADERS and not 0 <= self.size <= _MAX_HEADER:
            raise tarfile.ReadError("a header is too large")
        if self.size < 0:
            raise tarfile.ReadError("a size is negative")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member

    def _refuse_sparse(self, *_: Any) -> None:
        """Refuse a list of holes, which the library reads whole, however long it is."""
        raise tarfile.ReadError("sparse entries are not taken")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


class Extraction:
    """One archive on its way into a directory; ``read`` is its stream, of which it takes what it needs."""

    def __init__(self, workspace: Workspace, path: bytes, read: Callable[[int], bytes]) -> None:
        """Make the directory that a parsed path names. Raises OSError, AgentError."""
        self._path = b"" if path == b"." else path
        found = workspace.make_directories(self._path)
        try:
            self._root = os.open(".", _DIRECTORY, dir_fd=found)
        finally:
            os.close(found)
        self._directories: OrderedDict[bytes, int] = OrderedDict()
        self._modes: dict[bytes, int] = {}
        self._read = read
        self._last = b""
        self.made = self.bytes = 0
        self.failed: list[list[str]] = []
        self.more_failed = 0

    def run(self) -> dict[str, Any]:
        """Unpack it to its end, and bring it to the disk. Raises AgentError for what is no archive."""
        try:
            self._unpack()
        finally:
            # What is there by now is there, also when the stream breaks off.
            self._set_modes()
            kernel.sync_filesystem(self._root)
        return {
            "made": self.made,
            "last": os.fsdecode(self._last),
            "bytes": self.bytes,
            "failed": self.failed,
            "more_failed": self.more_failed,
        }

    def close(self) -> None:
        """Let go of what is open."""
        while self._directories:
            os.close(self._directories.popitem()[1])
        os.close(self._root)

    def _unpack(self) -> None:
        begin = self._exactly(len(_GZIP))
        plain = _Source(begin, self._exactly)
        source = cast("BinaryIO", _Gunzip(plain.read) if begin == _GZIP else plain)
        count = 0
        try:
            with tarfile.open(
                fileobj=source,
                mode="r|",
                tarinfo=_Info,
                encoding="utf-8",
                errors="surrogateescape",
                bufsize=_PART,
            ) as archive:
                while (entry := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined] # else it would hold each of them
                    count += 1
                    if count > MAX_ENTRIES:
                        raise invalid(f"archive: up to {MAX_ENTRIES} entries")
                    if archive.offset > MAX_BYTES:  # also by what an entry says of itself
                        raise invalid(f"archive: up to {MAX_BYTES} bytes, unpacked")
                    self._entry(archive, entry)
            for _ in range(_PADDING_PARTS):  # whoever still sends what fills the last record up
                if not self._read(_PART):
                    break
        except _BAD as error:
            behind = f" behind {count} entries" if count else ""
            raise invalid(
                f"archive: it is no tar stream, or breaks off{behind} ({error})"
            ) from None

    def _exactly(self, size: int) -> bytes:
        parts, missing = [], size
        while missing > 0 and (part := self._read(missing)):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _entry(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        try:
            inner = inner_path(os.fsencode(entry.name))
            self._make(archive, entry, inner)
            self.made += 1
            self._last = b"/".join(part for part in (self._path, inner) if part)
        except (Refused, UnicodeEncodeError) as error:
            self._fail(entry.name, str(error))
        except AgentError as error:
            if error.code == "invalid_argument":
                raise
            self._fail(entry.name, error.detail)
        except OSError as error:
            if error.errno in _FULL or isinstance(error, ConnectionError):
                raise
            self._fail(entry.name, error.strerror or "input/output error")

    def _make(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, inner: bytes) -> None:
        if entry.isdir():
            self._open_to_owner(inner, entry.mode & _PERMISSIONS)
            return
        if not inner:
            raise Refused("it names the directory itself")
        directory, name = self._place(inner)
        if entry.isreg():
            self._file(archive, entry, directory, name)
        elif entry.issym():
            target = os.fsencode(entry.linkname)
            _check_target(self._path, inner, target)
            self._put(directory, name, lambda draft: os.symlink(target, draft, dir_fd=directory))
        elif entry.islnk():
            self._hard_link(os.fsencode(entry.linkname), directory, name)
        else:
            raise Refused("neither a file nor a directory nor a link")

    def _file(
        self, archive: tarfile.TarFile, entry: tarfile.TarInfo, directory: int, name: bytes
    ) -> None:
        source = archive.extractfile(entry)
        assert source is not None

        def write(draft: bytes) -> None:
            fd = os.open(draft, _NEW, 0o600, dir_fd=directory)
            try:
                while data := source.read(_PART):
                    view = memoryview(data)
                    while view:
                        view = view[os.write(fd, view) :]
                    self.bytes += len(data)
                    if self.bytes > MAX_BYTES:  # a sparse file is longer than its data
                        raise invalid(f"archive: up to {MAX_BYTES} bytes, unpacked")
                mtime = max(0, min(int(entry.mtime), (1 << 33)))
                os.utime(fd, (mtime, mtime))
                os.fchmod(fd, entry.mode & _PERMISSIONS)
            finally:
                os.close(fd)

        self._put(directory, name, write)

    def _hard_link(self, target: bytes, directory: int, name: bytes) -> None:
        inner = inner_path(target)
        if not inner:
            raise Refused("its target is the directory itself")
        above, original = self._place(inner)
        if not stat.S_ISREG(os.stat(original, dir_fd=above, follow_symlinks=False).st_mode):
            raise Refused("its target is no file")

        def link(draft: bytes) -> None:
            os.link(original, draft, src_dir_fd=above, dst_dir_fd=directory, follow_symlinks=False)

        self._put(directory, name, link)

    def _put(self, directory: int, name: bytes, make: Callable[[bytes], None]) -> None:
        """Make something beside its place, and put it there whole, or not at all."""
        draft = temporary.new_name()
        try:
            make(draft)
            os.replace(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            # Also of two names of one file, which rename(2) leaves as they are.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=directory)

    # ---- directories ----------------------------------------------------------------------------

    def _place(self, inner: bytes) -> tuple[int, bytes]:
        above, _, name = inner.rpartition(b"/")
        return self._directory(above), name

    def _directory(self, inner: bytes) -> int:
        """Return a directory below, open and made if need be. No link is followed. Raises OSError."""
        if not inner:
            return self._root
        known = self._directories.get(inner)
        if known is not None:
            self._directories.move_to_end(inner)
            return known
        above, _, name = inner.rpartition(b"/")
        parent = self._directory(above)
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, _PERMISSIONS, dir_fd=parent)  # less the umask
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise Refused("a part of its path is no directory") from None
            raise
        self._directories[inner] = fd
        if len(self._directories) > _MAX_OPEN + MAX_DEPTH:
            # The oldest; never one of those that were used for this one.
            os.close(self._directories.popitem(last=False)[1])
        return fd

    def _open_to_owner(self, inner: bytes, mode: int) -> None:
        """Make a directory with its permissions; those that would shut us out come at the end."""
        directory = self._directory(inner)
        if inner:
            os.fchmod(directory, mode | _OWNER)
            if mode & _OWNER != _OWNER:
                self._modes[inner] = mode

    def _set_modes(self) -> None:
        """Shut directories that are to be, the innermost first."""
        for inner in sorted(self._modes, key=lambda path: -path.count(b"/")):
            with contextlib.suppress(OSError, Refused):
                os.fchmod(self._directory(inner), self._modes[inner])

    def _fail(self, name: str, reason: str) -> None:
        if len(self.failed) < MAX_FAILED:
            self.failed.append([name[:_MAX_NAME], reason])
        else:
            self.more_failed += 1


class _Source:
    """A stream whose first bytes were read already."""

    def __init__(self, begin: bytes, read: Callable[[int], bytes]) -> None:
        self._begin = begin
        self._rest = read

    def read(self, size: int) -> bytes:
        """Return so many bytes; fewer at the end."""
        begin, self._begin = self._begin[:size], self._begin[size:]
        return begin + self._rest(size - len(begin))


class _Gunzip:
    """A stream unpacked by gzip, some bytes at a time: tarfile's own would unpack all of a part at once."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._packed = read
        self._member = zlib.decompressobj(wbits=31)
        self._left = b""

    def read(self, size: int) -> bytes:
        """Return so many bytes; fewer at the end. Raises zlib.error, EOFError."""
        parts, missing = [], size
        while missing > 0 and (part := self._some(missing)):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _some(self, size: int) -> bytes:
        while True:
            if self._member.eof:
                self._left = self._member.unused_data or self._packed(_PART)
                if not self._left.strip(b"\0"):
                    return b""
                self._member = zlib.decompressobj(wbits=31)
            elif not self._left and not (left := self._packed(_PART)):
                raise EOFError("the gzip stream breaks off")
            elif not self._left:
                self._left = left
            part = self._member.decompress(self._left, size)
            self._left = self._member.unconsumed_tail
            if part:
                return part


def inner_path(name: bytes) -> bytes:
    """Return where an entry of that name goes, below the directory; empty: it is that. Raises Refused."""
    if name.startswith(b"/"):
        raise Refused("its name is absolute")
    if len(name) > _MAX_NAME:
        raise Refused("its name is too long")
    try:
        inner = parse(name)
    except AgentError as error:
        raise Refused(error.detail) from None
    parts = inner.split(b"/")
    if len(parts) > MAX_DEPTH:
        raise Refused(f"it lies deeper than {MAX_DEPTH} directories")
    if any(map(temporary.is_temporary, parts)):
        raise Refused("its name is one of files on their way")
    return b"" if inner == b"." else inner


def _check_target(root: bytes, inner: bytes, target: bytes) -> None:
    """Raise Refused for a link that leads out of the workspace, by what its target says."""
    if target.startswith(b"/"):
        raise Refused("a link out of the workspace")
    depth = len([part for part in (root + b"/" + inner).split(b"/") if part]) - 1
    for part in target.split(b"/"):
        if part == b"..":
            depth -= 1
        elif part not in {b"", b"."}:
            depth += 1
        if depth < 0:
            raise Refused("a link out of the workspace")
    if not target or b"\0" in target or len(target) > _MAX_NAME:
        raise Refused("a link without a target")
