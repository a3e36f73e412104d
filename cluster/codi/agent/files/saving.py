"""Saving a file: what it is stays what it was, only its content changes. Blocking: run in a thread.

A new file, durable before it is renamed into place, is what readers and a power cut can never see half
of. It takes the place of the old one where that looks like a change of content alone: permissions,
owner and extended attributes (access lists among them) are carried over. Where they cannot be, or the
file has other names (hard links), or the directory takes no new names, the content is written into the
file that is there. That is done from a *journal*: the whole new content, on disk in the workspace's own
directory together with where it belongs. Whatever dies meanwhile, ``redo`` writes it to the end. Only
where that directory takes no new names either (its permissions, no inode left) there is no journal.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import struct
import time
from collections.abc import Mapping

from cluster.codi.agent import kernel
from cluster.codi.agent.errors import AgentError, invalid
from cluster.codi.agent.files import temporary
from cluster.codi.agent.files.files import check, etag_of
from cluster.codi.agent.files.paths import Workspace, sync_directory

_NEW_FILE_MODE = 0o666
_BLOCK = 1 << 20
_TRAILER = struct.Struct(">I12s")
_MAGIC = b"codi-into-1\n"
_MAX_HEADER = 256 << 10
_MAX_IN_MEMORY = 64 << 20
_NO_NEW_NAMES = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
_NO_RENAME = {errno.EACCES, errno.EPERM, errno.EBUSY}
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
_TICKS, _TICK_SECONDS = 50, 0.001


class Draft:
    """A file on its way into the workspace: invisible until ``commit``, and gone after ``discard``."""

    def __init__(
        self, workspace: Workspace, path: bytes, fields: Mapping[str, str], mode: int | None = None
    ) -> None:
        """Create the temporary file, and the directories above it. Raises AgentError, OSError.

        ``fields`` are the request's conditions. ``mode``: permissions, if not those of the file that is
        there. The file that is there must let itself be written.
        """
        self._workspace = workspace
        self._fields, self._mode = fields, mode
        self._directory, self._name = workspace.parent(workspace.follow(path), make=True)
        self._home = -1
        self._fd = -1
        self._refusal: OSError | None = None
        self._temporary = temporary.new_name()
        self._dressed: tuple[int, ...] | None = None
        self.size = 0
        try:
            status = self._status()
            check("PUT", status, fields)
            if status is not None:
                self._require_writable()
            self._create(exists=status is not None)
        except BaseException:
            self.discard()
            raise

    @property
    def path(self) -> bytes:
        """The place of the file, links resolved."""
        return self._workspace.place_of(self._directory, self._name)

    def write(self, data: bytes) -> None:
        """Add data. Raises what a temporary file was refused with for more than fits into memory."""
        if self._home < 0 and self._refusal and self.size + len(data) > _MAX_IN_MEMORY:
            raise self._refusal
        _write(self._fd, data)
        self.size += len(data)

    def sync(self) -> None:
        """Bring the content to the disk, and make the file as like the one that it replaces as can be."""
        self._dress(self._status())
        os.fsync(self._fd)

    def commit(self) -> str:
        """Put the content into place for good; return the file's etag.

        Only one commit may run at a time, so that of two writers with the same ``If-Match`` one fails.
        """
        status = self._status()
        check("PUT", status, self._fields)
        if status is not None and not self._may_replace(status):
            return self._write_in_place(status)
        try:
            self._rename()
        except OSError as error:
            if status is None or error.errno not in _NO_RENAME:
                raise
            return self._write_in_place(status)
        sync_directory(self._directory)
        return etag_of(os.fstat(self._fd))

    def discard(self) -> None:
        """Close, and remove what was not committed. Idempotent."""
        if self._temporary and self._fd >= 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._home)
        for fd in (self._fd, self._home, self._directory):
            if fd >= 0:
                os.close(fd)
        self._fd = self._home = self._directory = -1

    def _status(self) -> os.stat_result | None:
        try:
            status = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(status.st_mode):
            raise AgentError(409, "is_a_directory", "it is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise invalid("it is not a regular file")
        return status

    def _require_writable(self) -> None:
        """Raise PermissionError for a file that its permissions protect."""
        try:
            os.close(self._open_target())
        except OSError as error:
            if error.errno != errno.ETXTBSY:  # a program that runs: it can be replaced
                raise

    def _open_target(self, access: int = os.O_WRONLY) -> int:
        flags = access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(self._name, flags, dir_fd=self._directory)

    def _create(self, *, exists: bool) -> None:
        """Create the temporary file beside its target; in the workspace's own directory if need be.

        Where neither takes new names, what is to be written into a file that is there waits in memory.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for home in (self._directory, self._workspace.root):
            try:
                self._fd = os.open(self._temporary, flags, _NEW_FILE_MODE, dir_fd=home)
            except OSError as error:
                if not exists or error.errno not in _NO_NEW_NAMES:
                    raise
                self._refusal = error
            else:
                self._home = os.dup(home)
                return
        self._temporary = b""
        self._fd = os.memfd_create("draft", os.MFD_CLOEXEC)

    def _dress(self, status: os.stat_result | None) -> None:
        """Give the new file the owner, attributes and permissions of the old one, if that can be done."""
        self._dressed = None
        if status is not None:
            with contextlib.suppress(OSError):
                old = self._open_target(os.O_RDONLY)
                try:
                    carry_over(old, status, self._fd)
                finally:
                    os.close(old)
                self._dressed = _identity(status)
        if self._mode is not None:
            os.fchmod(self._fd, self._mode)

    def _may_replace(self, status: os.stat_result) -> bool:
        if status.st_nlink > 1 or self._home < 0:
            return False
        if not os.path.sameopenfile(self._home, self._directory):
            return False
        if self._dressed != _identity(status):
            self.sync()
        return self._dressed == _identity(status)

    def _rename(self) -> None:
        source, target = (self._home, self._temporary), (self._directory, self._name)
        if self._fields.get("if-none-match", "").strip() == "*":
            try:
                kernel.rename_new(*source, *target)
            except FileExistsError:
                raise AgentError(412, "precondition_failed", "the file exists") from None
        else:
            os.replace(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])
        self._temporary = b""

    def _write_in_place(self, status: os.stat_result) -> str:
        target = self._open_target()
        try:
            if os.fstat(target).st_ino != status.st_ino:
                raise AgentError(409, "exists", "another file has taken its place meanwhile")
            temporary = b""
            if self._write_journal(status):
                temporary, self._temporary = self._temporary, b""  # kept, however this ends
            try:
                _copy(self._fd, target, self.size, self._mode)
            except (_NoRoomError, OSError) as error:
                # Not for longer than a failure that is reported: what is written to the file from now on must
                # not be undone at the next start.
                self._temporary = temporary or self._temporary
                raise OSError(error.errno, os.strerror(error.errno or errno.EIO)) from None
            if temporary:
                os.unlink(temporary, dir_fd=self._home)
                sync_directory(self._home)
            _make_newer(target, status)
            return etag_of(os.fstat(target))
        finally:
            os.close(target)

    def _write_journal(self, status: os.stat_result) -> bool:
        """Note on the disk where the content belongs, before any of it is written there.

        Says whether there is a place for a journal: the workspace's own directory may take no new names.
        """
        if self._home < 0:
            return False
        path = os.fsdecode(self.path)
        header = json.dumps({"path": path, "inode": status.st_ino, "size": self.size}).encode()
        os.lseek(self._fd, self.size, os.SEEK_SET)
        _write(self._fd, header + _TRAILER.pack(len(header), _MAGIC))
        os.fsync(self._fd)
        root = os.dup(self._workspace.root)
        try:
            os.replace(self._temporary, self._temporary, src_dir_fd=self._home, dst_dir_fd=root)
        except OSError as error:
            os.close(root)
            if error.errno not in _NO_NEW_NAMES:
                raise
            return False
        os.close(self._home)
        self._home = root
        sync_directory(root)
        return True


class _NoRoomError(Exception):
    """There is no room for the content; nothing of the file was changed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.errno = number


def carry_over(old: int, status: os.stat_result, new: int) -> None:
    """Give ``new`` what the file ``old`` has beside its content. Raises OSError when that cannot be had."""
    now = os.fstat(new)
    if (now.st_uid, now.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(new, status.st_uid, status.st_gid)
    wanted, found = _attributes(old), _attributes(new)
    for name in found.keys() - wanted.keys():
        os.removexattr(new, name)
    for name, value in wanted.items():
        if found.get(name) != value:
            os.setxattr(new, name, value)
    os.fchmod(new, stat.S_IMODE(status.st_mode))


def redo(workspace: Workspace) -> None:
    """Write to the end what was being written in place when everything ended. Once, at the start."""
    root = workspace.open(b".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in os.listdir(root):
            raw = os.fsencode(name)
            if temporary.is_temporary(raw):
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AgentError):
                    _redo(workspace, root, raw)
    finally:
        os.close(root)


def _redo(workspace: Workspace, root: int, name: bytes) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=root)
    try:
        end = os.fstat(fd).st_size - _TRAILER.size
        if end < 0:
            return
        length, magic = _TRAILER.unpack(os.pread(fd, _TRAILER.size, end))
        if magic != _MAGIC or length > _MAX_HEADER:
            return  # the file was not touched yet
        header = json.loads(os.pread(fd, length, end - length))
        size = int(header["size"])
        if size != end - length:
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # removed since
            flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            target = workspace.open(os.fsencode(header["path"]), flags)
            try:
                if os.fstat(target).st_ino == header["inode"]:
                    _copy(fd, target, size, None)
            finally:
                os.close(target)
        os.unlink(name, dir_fd=root)
    finally:
        os.close(fd)


def _copy(source: int, target: int, size: int, mode: int | None) -> None:
    """Make ``target`` consist of the first bytes of ``source``. Raises _NoRoomError before it begins."""
    before = os.fstat(target)
    if size:
        try:
            os.posix_fallocate(target, 0, size)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                os.ftruncate(target, before.st_size)
                raise _NoRoomError(error.errno or errno.ENOSPC) from None
    offset = 0
    os.lseek(target, 0, os.SEEK_SET)
    while offset < size:
        data = os.pread(source, min(_BLOCK, size - offset), offset)
        if not data:
            raise OSError(errno.EIO, "the journal became shorter")
        _write(target, data)
        offset += len(data)
    os.ftruncate(target, size)
    wanted = stat.S_IMODE(before.st_mode) if mode is None else mode
    if stat.S_IMODE(os.fstat(target).st_mode) != wanted:  # writing takes set-user-id away
        with contextlib.suppress(PermissionError):  # of a file that is another user's
            os.fchmod(target, wanted)
    os.fsync(target)


def _make_newer(target: int, before: os.stat_result) -> None:
    """See to it that the etag is another one: the clock of a file system ticks every few milliseconds."""
    for _ in range(_TICKS):
        if etag_of(os.fstat(target)) != etag_of(before):
            return
        time.sleep(_TICK_SECONDS)
        os.utime(target)


def _attributes(fd: int) -> dict[str, bytes]:
    try:
        return {name: os.getxattr(fd, name) for name in os.listxattr(fd)}
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return {}
        raise


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Return what has to stay the same for a file to be dressed like another."""
    return status.st_ino, status.st_uid, status.st_gid, status.st_mode, status.st_ctime_ns


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
