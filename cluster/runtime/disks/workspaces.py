"""The lasting directories of workspaces, and removing them whatever is in them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from actors.core.errors.requests import InvalidArgument
from cluster.runtime.disks import images as disks
from cluster.runtime.disks import moving
from cluster.runtime.disks.images import Ailment, DiskLimits
from cluster.runtime.root import mounts
from cluster.runtime.trees import empty, give

logger = logging.getLogger(__name__)

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_INCARNATIONS = ".incarnations"
_DRAFTS = ".drafts"

# No tool, no right, no such device or file system: this machine cannot have disks.
_NEVER = frozenset(
    (errno.ENOENT, errno.EPERM, errno.EACCES, errno.ENODEV, errno.ENXIO, errno.ENOSYS)
)

_LATER = frozenset((errno.EBUSY, errno.ENOSPC))
"""Failures that may be over the next time."""


def check_id(field: str, value: str) -> str:
    """Return an id that is safe as a file name. Raises InvalidArgument."""
    if not _SAFE_ID.fullmatch(value):
        raise InvalidArgument(field, "1 to 128 letters, digits, '.', '_' or '-', no leading sign")
    return value


class Workspaces:
    """The directories under ``root``.

    ``owners`` are whose they may be, when root makes them; anybody else's become the first one's.
    With ``limits`` a new workspace gets a disk of that size, if this machine can have such: a file in
    its directory, which stays root's then. One that has none is moved into one by ``care``.
    """

    def __init__(
        self,
        root: Path,
        trash: Path,
        owners: Sequence[int] = (),
        limits: DiskLimits | None = None,
    ) -> None:
        self._root = root
        self._trash = trash
        self._owners = owners
        self._limits = limits if owners else None
        self._immovable: set[str] = set()

    @classmethod
    def of(cls, data_dir: Path) -> Workspaces:
        """Return those of a server, to look at."""
        return cls(data_dir / "workspaces", data_dir / "trash")

    def path(self, workspace_id: str) -> Path:
        """Return where a workspace lies. Raises InvalidArgument for an id that is no file name."""
        return self._root / check_id("workspace_id", workspace_id)

    def ensure(self, workspace_id: str) -> Path:
        """Make the directory when missing, mode 0700, and its contents the container's own.

        Contents change hands only when the directory itself had another owner: when it was
        restored by root, or when root starts a server that an ordinary user ran before.
        """
        path = self.path(workspace_id)
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.is_dir() or not self._incarnation_file(workspace_id).exists():
            self._begin_incarnation(workspace_id)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        owned = not self._owners or self.disk(workspace_id) is not None
        if not owned and path.stat().st_uid not in self._owners:
            give(path, self._owners[0])
        return path

    def open(self, workspace_id: str) -> int:
        """Return a new mount of a workspace that there is: of its disk, or of its directory.

        The mount is nowhere in the tree; its root belongs to whom the files belong. For root. The
        caller closes it.
        """
        if image := self.disk(workspace_id):
            return disks.mount(image)
        with moving.still(self.path(workspace_id)):
            made = self._new_disk(workspace_id)
            return mounts.clone(str(self.path(workspace_id))) if made is None else made

    def holders(self) -> frozenset[int]:
        """Return to whom directories of workspaces belong on disk."""
        found = set()
        with os.scandir(self._root) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found.add(entry.stat(follow_symlinks=False).st_uid)
        return frozenset(found)

    def ailment(self, workspace_id: str) -> Ailment | None:
        """Return what ``care`` would have to do before the workspace is mounted."""
        with contextlib.suppress(OSError):  # opening it will report what is wrong
            if image := self.disk(workspace_id):
                return disks.ailment(image, self._limits)
            wanted = self._limits is not None and workspace_id not in self._immovable
            if wanted and any(self.path(workspace_id).iterdir()):
                return Ailment.BARE
        return None

    def care(self, workspace_id: str, busy: Callable[[], bool]) -> None:
        """See to a workspace's disk (``disks.care``), or move its directory into one unless it is ``busy``.

        Raises OSError; a directory that cannot be moved goes on as it is.
        """
        if image := self.disk(workspace_id):
            disks.care(image, self._limits)
        elif self._limits is not None and any(self.path(workspace_id).iterdir()):
            try:
                path, image = self.ensure(workspace_id), self._image(workspace_id)
                moving.move_in(path, self._root / _DRAFTS, image.name, self._limits, busy)
            except OSError as error:
                logger.warning("workspace %s has no disk of its own yet: %s", workspace_id, error)
                if error.errno in _NEVER:
                    self._limits = None
                elif error.errno not in _LATER:
                    self._immovable.add(workspace_id)

    def disk(self, workspace_id: str) -> Path | None:
        """Return the file that is a workspace's disk, or None when its files lie in the directory itself."""
        with contextlib.suppress(FileNotFoundError):
            image = self._image(workspace_id)
            return image if disks.is_image(image) else None
        return None

    def _image(self, workspace_id: str) -> Path:
        return self.path(workspace_id) / f"disk-{self.incarnation(workspace_id)}"

    def _new_disk(self, workspace_id: str) -> int | None:
        path = self.path(workspace_id)
        if self._limits is None or any(path.iterdir()):
            return None
        if self._limits.room(disks.free_bytes(path)) <= 0:
            raise OSError(errno.ENOSPC, "the machine's disk has its reserve left and no more")
        owner = path.stat()
        os.chown(path, os.geteuid(), os.getegid())
        try:
            drafts = self._root / _DRAFTS
            return disks.create(self._image(workspace_id), drafts, self._limits, self._owners[0])
        except OSError as error:
            logger.warning("a workspace gets no disk of its own: %s", error)
            if error.errno in _NEVER:  # what a full disk refuses today, the next one may have
                self._limits = None
            os.chown(path, owner.st_uid, owner.st_gid)
            return None

    def incarnation(self, workspace_id: str) -> str:
        """Return the name of this very directory: one that is made anew gets another.

        It lies beside the directory, goes with it when the whole is copied, and is on disk before the
        directory is there. So whoever knows which incarnation was complete can distinguish a directory
        whose files were deleted from one that never had them.
        """
        return self._incarnation_file(workspace_id).read_text()

    def _incarnation_file(self, workspace_id: str) -> Path:
        return self._root / _INCARNATIONS / check_id("workspace_id", workspace_id)

    def _begin_incarnation(self, workspace_id: str) -> None:
        file = self._incarnation_file(workspace_id)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        draft = file.with_name(f".{file.name}-{os.urandom(6).hex()}")
        with draft.open("x") as target:
            target.write(os.urandom(12).hex())
            target.flush()
            os.fsync(target.fileno())
        draft.replace(file)
        for directory in (file.parent, self._root):
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    async def delete(self, workspace_id: str) -> None:
        """Remove a workspace and everything in it. Idempotent.

        It is out of the way at once, by a rename; the rest is done in a thread, and again by the
        next call if this one is cut short.
        """
        path = self.path(workspace_id)
        bin_ = self._trash / os.urandom(6).hex()
        bin_.mkdir(mode=0o700, parents=True)
        with contextlib.suppress(FileNotFoundError):
            path.rename(bin_ / path.name)
        self._incarnation_file(workspace_id).unlink(missing_ok=True)
        await asyncio.to_thread(self._empty_trash, bin_)

    def _empty_trash(self, mine: Path) -> None:
        moving.sweep(self._root / _DRAFTS)
        for bin_ in self._trash.iterdir():
            try:
                empty(bin_)
                bin_.rmdir()
            except OSError:  # what another call left and cannot be removed is not this call's error
                if bin_ == mine and bin_.exists():
                    raise
