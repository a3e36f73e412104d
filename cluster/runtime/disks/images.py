"""A disk of its own for a workspace: an ext4 file system with a size and a number of files, in a file.

The limit holds while programs write, whatever they call, because there is nothing beyond it. The
file is sparse, and what is deleted is given back (``discard``). The disk is mounted nowhere but in
the container: it goes with the container's last process, and no crash leaves anything to clean up.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from cluster.runtime.disks import loops
from cluster.runtime.root import mounts

_OPTIONS = {"discard": None, "noinit_itable": None, "errors": "remount-ro"}
_DAMAGED = (errno.EUCLEAN, errno.EBADMSG, errno.EINVAL, errno.EIO)
_INODE_BYTES = 256
_TOOL_SECONDS = 60.0
_REPAIR_SECONDS = 600.0
_LOCK_SECONDS = 10.0
_SUPERBLOCK, _MAGIC, _STATE_ERRORS = 1024, 0xEF53, 2  # of ext4(5)
_LOCK_PAUSE = 0.005
_WORTH_GROWING = 5 / 4
_SMALLEST = 16 << 20


class Ailment(Enum):
    """Needs of a workspace before it is mounted: to be repaired; or, which can wait, to grow, or a disk."""

    DAMAGED = "damaged"
    SMALL = "small"
    BARE = "bare"


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """Limits of a workspace: bytes and files (inodes, which directories and links are too).

    ``reserve`` are bytes of the machine's disk that are for none of them (``reserve.py``).
    """

    size: int
    files: int
    reserve: int = 0

    def room(self, free: int) -> int:
        """Return how much of what is free on the machine's disk is for workspaces."""
        return max(0, free - self.reserve)

    def image_bytes(self, free: int) -> int:
        """Return the size of the file: room for the files' table and the journal comes on top.

        One disk alone cannot fill the machine's: it gets at most half of what is ``free`` there.
        """
        whole = (
            self.size
            + self.size // 64
            + self.files * _INODE_BYTES
            + (_journal_mib(self.size) << 20)
        )
        return max(_SMALLEST, min(whole, self.room(free) // 2)) // 4096 * 4096


def create(image: Path, drafts: Path, limits: DiskLimits, owner: int) -> int:
    """Make an empty disk that belongs to ``owner``, whole or not at all; mount it as ``mount`` does.

    Raises OSError when this machine cannot have one: no tool, no loop devices, no right to mount.
    """
    with _draft(drafts) as (draft, file):
        size = limits.image_bytes(free_bytes(drafts))
        os.truncate(file, size)
        files = max(1024, limits.files * size // limits.image_bytes(1 << 62))
        extended = f"lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner={owner}:{owner}"
        arguments = ["-q", "-F", "-b", "4096", "-m", "0", "-E", extended, "-N", str(files)]
        arguments += ["-J", f"size={_journal_mib(size)}", str(draft)]
        _tool("mkfs.ext4", arguments, _TOOL_SECONDS)
        tree = _mount(file)
        try:
            os.chmod(f"/proc/self/fd/{tree}/.", 0o700)
            draft.rename(image)
            _sync(image.parent)
        except BaseException:
            os.close(tree)
            raise
        return tree


def mount(image: Path) -> int:
    """Mount a disk nowhere and return the mount's descriptor, which the caller closes.

    Raises OSError: EBUSY when somebody else holds on to a former mount; EUCLEAN when it is damaged, which
    ``care`` sees to.
    """
    file = os.open(image, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        _lock(file)
        try:
            return _mount(file)
        except OSError as error:
            if error.errno not in _DAMAGED or loops.has_device(file):
                raise
            _mark(image).touch()
            raise OSError(
                errno.EUCLEAN, "the disk is damaged; the next launch repairs it"
            ) from error
    finally:
        os.close(file)


def ailment(image: Path, limits: DiskLimits | None) -> Ailment | None:
    """Return what ``care`` would have to do. Reads a kilobyte."""
    head = _head(image)
    if head.damaged or _mark(image).exists():
        return Ailment.DAMAGED
    if limits is not None and _wanted(image, limits) >= head.size * _WORTH_GROWING:
        return Ailment.SMALL
    return None


def care(image: Path, limits: DiskLimits | None) -> None:
    """Repair a disk if it is damaged, and let it grow to what it may be by now, unless it is mounted.

    Takes as long as it has files, ten minutes a tool at most. Whatever ends the caller, the tools run to
    end, and nobody mounts the disk meanwhile. Raises OSError when it cannot be repaired.
    """
    file = os.open(image, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        _lock(file)
        found = None if loops.has_device(file) else ailment(image, limits)
        if found is Ailment.DAMAGED:  # the kernel might mount it all the same
            _repair(image, file)
            _mark(image).unlink(missing_ok=True)
            found = ailment(image, limits)
        if found is Ailment.SMALL and limits is not None:
            with contextlib.suppress(OSError):  # then it is as it was
                _grow(image, file, limits)
    finally:
        os.close(file)


def is_free(image: Path) -> bool:
    """Return whether nobody has a disk mounted, or is about to."""
    try:
        with image.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _lock(file: int) -> None:
    """Keep others from looking for the file's device meanwhile.

    The device has the file open as well, and so the lock, for as long as it lasts: whoever comes next
    waits for the former's end, but not for ever, since something else may hold on to that mount.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, "the disk is still mounted, or being repaired") from None
            time.sleep(_LOCK_PAUSE)
        else:
            return


def _mount(file: int) -> int:
    device, path = loops.attach(file)
    try:
        tree = mounts.mount("ext4", path, _OPTIONS)
    finally:
        os.close(device)
    with contextlib.suppress(OSError):  # the repairer's, which it makes itself when it needs it
        os.rmdir(f"/proc/self/fd/{tree}/lost+found")
    return tree


def _grow(image: Path, file: int, limits: DiskLimits) -> None:
    size = max(_wanted(image, limits), image.stat().st_size)
    _repair(image, file)  # resize2fs insists
    os.truncate(image, size)
    _tool("resize2fs", [str(image)], _REPAIR_SECONDS, holds=file)


def _wanted(image: Path, limits: DiskLimits) -> int:
    return limits.image_bytes(free_bytes(image) + image.stat().st_blocks * 512)


def _mark(image: Path) -> Path:
    """Return the file that says that a disk could not be mounted."""
    return image.with_name(f"{image.name}.damaged")


class _Head(NamedTuple):
    """A disk's superblock: its size in bytes, and whether there is damage, as far as it shows.

    The size is what is in it: the file may have been made larger by an attempt that came no further.
    """

    size: int
    damaged: bool


def _head(image: Path) -> _Head:
    with image.open("rb") as file:
        file.seek(_SUPERBLOCK)
        magic, state = struct.unpack_from("<2H", data := file.read(1024).ljust(1024, b"\0"), 0x38)
        if magic != _MAGIC:
            return _Head(os.fstat(file.fileno()).st_size, damaged=True)
    low, log_size, high = (struct.unpack_from("<I", data, at)[0] for at in (0x4, 0x18, 0x150))
    return _Head((high << 32 | low) << (10 + log_size), damaged=bool(state & _STATE_ERRORS))


def failure(place: Path) -> str | None:
    """Make and mount a small disk below a directory; return None when it works, else what went wrong."""
    try:
        with tempfile.TemporaryDirectory(dir=place) as directory:
            made = Path(directory)
            os.close(create(made / "disk", made / "drafts", DiskLimits(_SMALLEST, 1000), 0))
    except OSError as error:
        return error.strerror or str(error)
    return None


def is_image(image: Path) -> bool:
    """Return whether a file is a disk that this server made: a user can put one there only as its own."""
    try:
        status = image.lstat()
    except OSError:
        return False
    parent = image.parent.stat()
    return status.st_uid == parent.st_uid == os.geteuid() and status.st_nlink == 1


def _repair(image: Path, file: int) -> None:
    # 0 is well, 1 is mended; anything else is left as damaged.
    _tool("e2fsck", ["-f", "-y", str(image)], _REPAIR_SECONDS, well=(0, 1), holds=file)


def _tool(
    name: str,
    arguments: list[str],
    limit_seconds: float,
    *,
    well: tuple[int, ...] = (0,),
    holds: int | None = None,
) -> None:
    """Run a tool of e2fsprogs in a session of its own: what ends this process must not end it half-way.

    It ``holds`` a descriptor meanwhile, and so the lock.
    """
    environment = {"PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"}
    try:
        done = subprocess.run(
            [name, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_seconds,
            check=False,
            env=environment,
            start_new_session=True,
            pass_fds=() if holds is None else (holds,),
        )
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIME, f"{name} did not end within {limit_seconds:g} s") from None
    if done.returncode not in well:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise OSError(errno.EIO, f"{name}: {said[-1] if said else done.returncode}")


@contextmanager
def _draft(drafts: Path) -> Iterator[tuple[Path, int]]:
    """Make a file to be renamed, and hold it; what others left when they died is removed."""
    drafts.mkdir(mode=0o700, exist_ok=True)
    for other in drafts.iterdir():
        with contextlib.suppress(OSError), other.open("rb") as left:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            other.unlink()
    draft = drafts / os.urandom(12).hex()
    file = os.open(drafts, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)  # before it has a name, so that nobody takes it for left
        # With a descriptor it is linkat(2), which can follow this link to a file without a name.
        os.link(f"/proc/self/fd/{file}", draft, src_dir_fd=file, follow_symlinks=True)
        yield draft, file
    finally:
        os.close(file)
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


def _journal_mib(size: int) -> int:
    return max(4, min(16, size >> 24))


def free_bytes(path: Path) -> int:
    """Return what is free on a file system."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
