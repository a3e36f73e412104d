"""A reserve on the machine's disk that workspaces' disks do not eat, though more is promised than there is.

A full machine's disk shows late in a disk within a file: the program's write has succeeded, its pages cannot
be written, the journal stops, and what was written is lost. So below the reserve every disk keeps its free
blocks to itself (``reserved_clusters`` of ext4): what needs a new block is refused at once, as on any full
disk; what overwrites, reads and deletes goes on. Room comes back by what is deleted, and with it the disks.

What a program had allocated before and not written (fallocate(2)) it may still write. Below half of the
reserve containers whose disks grow on are ended: what they had written is whole.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cluster.runtime import processes as identity
from cluster.runtime.disks.workspaces import Workspaces
from cluster.runtime.registry import Processes, Registry

logger = logging.getLogger(__name__)

_FASTEST = 4 << 30
"""Bytes a second that programs may write into memory: how soon to look again follows from it."""

_SHORTEST, _LONGEST = 0.1, 5.0
_GROWS = 1 << 20
_MOST_KEPT = 4096  # clusters, or the fiftieth part: what ext4 itself begins with


class Room(NamedTuple):
    """Free bytes of a file system, and how many programs have written that the disk does not have yet."""

    free: int
    pending: int

    @property
    def left(self) -> int:
        """The bytes that are certain to be free."""
        return self.free - self.pending


def measure(place: Path) -> Room:
    """Look at the file system of a directory. Raises OSError."""
    found = os.statvfs(place)
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    pages = {
        name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)
    }
    pending = (pages.get("Dirty", 0) + pages.get("Writeback", 0)) << 10
    return Room(found.f_bavail * found.f_frsize, pending)


def promised(root: Path) -> tuple[int, int]:
    """Return how large the disks of the workspaces below ``root`` may become, and what they take by now."""
    size = allocated = 0
    for image in root.glob("*/disk-*"):
        with contextlib.suppress(OSError):
            status = image.stat()
            if status.st_uid == os.geteuid() == image.parent.stat().st_uid:
                size, allocated = size + status.st_size, allocated + status.st_blocks * 512
    return size, allocated


def figures(data_dir: Path, reserve: int) -> dict[str, int]:
    """Return what operators see of the disk. Raises OSError."""
    size, allocated = promised(data_dir / "workspaces")
    return {
        "free_bytes": measure(data_dir).free,
        "reserve_bytes": reserve,
        "promised_bytes": size,
        "allocated_bytes": allocated,
    }


def is_braked(left: int, reserve: int, *, before: bool) -> bool:
    """Return whether disks may not grow; they may again when there is a quarter more than the reserve."""
    return left < (reserve * 5 // 4 if before else reserve)


def pause(left: int, reserve: int) -> float:
    """Return after how many seconds to look again: before what is left above the reserve can be used up."""
    return min(_LONGEST, max(_SHORTEST, (left - reserve) / _FASTEST))


def brake(root: Path, *, on: bool, system: Path = Path("/sys")) -> int:
    """Let no disk of the workspaces below ``root`` grow, or all of them; return how many there are."""
    count = 0
    for name, blocks in _devices(root, system):
        kept = blocks - 1 if on else min(blocks // 50, _MOST_KEPT)
        file = system / "fs/ext4" / name / "reserved_clusters"
        with contextlib.suppress(OSError, ValueError):  # it has ended meanwhile
            if int(file.read_text()) != kept:
                file.write_text(str(kept))
            count += 1
    return count


def _devices(root: Path, system: Path) -> Iterator[tuple[str, int]]:
    """Yield loop devices whose files lie below ``root``, and their sizes in blocks of 4096 bytes."""
    for file in (system / "block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError, ValueError):
            # One that was made in this boot is listed by the directory of its draft.
            if file.read_text().startswith(f"{root}/"):
                yield file.parents[1].name, int((file.parents[1] / "size").read_text()) // 8


@dataclass(slots=True)
class DiskGuard:
    """Keeps the reserve of one server. ``look`` is to be called again and again; ``run`` does."""

    data_dir: Path
    reserve: int
    measure: Callable[[Path], Room] = measure
    braked: bool = False
    _grown: Mapping[str, int] | None = None

    def look(self) -> float:
        """Look, and do what is needed; return after how many seconds to look again. Raises OSError."""
        left = self.measure(self.data_dir).left
        was, self.braked = self.braked, is_braked(left, self.reserve, before=self.braked)
        if was is not self.braked:
            words = (
                "workspaces cannot grow until there is room" if self.braked else "they grow again"
            )
            logger.warning(
                "%d MiB left, %d MiB reserved: %s", left >> 20, self.reserve >> 20, words
            )
        brake(self.data_dir / "workspaces", on=self.braked)
        before, self._grown = self._grown, self._sizes() if left < self.reserve // 2 else None
        for container_id, size in (self._grown or {}).items():
            if before is not None and size - before.get(container_id, size) > _GROWS:
                self._end(container_id)
        return pause(left, self.reserve)

    def run(self, ended: threading.Event) -> None:
        """Look until ``ended``; for a thread of its own."""
        seconds = 0.0
        while not ended.wait(seconds):
            try:
                seconds = self.look()
            except (OSError, ValueError) as error:
                logger.warning("the disk cannot be looked at: %s", error)
                seconds = _LONGEST

    def _sizes(self) -> dict[str, int]:
        """Return what the disks of containers take of the machine's, in bytes."""
        registry, workspaces = Registry.of(self.data_dir), Workspaces.of(self.data_dir)
        found = {}
        for entry in filter(None, map(registry.read, registry.ids())):
            with contextlib.suppress(OSError):
                if image := workspaces.disk(entry.handle.workspace_id):
                    found[entry.handle.container_id] = image.stat().st_blocks * 512
        return found

    def _end(self, container_id: str) -> None:
        entry = Registry.of(self.data_dir).read(container_id)
        if entry is not None and (init := Processes.of(entry.handle).init) is not None:
            logger.error("container %s writes on into the reserve: it is ended", container_id)
            identity.send_signal(init, signal.SIGKILL)
