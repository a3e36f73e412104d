"""Removing what containers share (``etc-*``, ``view-*``, CODI's stages) once no container uses it any more.

What a container has mounted, the kernel says (``/proc/PID/mountinfo``). What one is about to mount has just
been touched by its launch: only what nobody has touched for an hour is looked at.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

UNUSED_SECONDS = 3600.0
MOST_AT_ONCE = 16
_KINDS = ("etc-", "view-", "codi-", ".etc-", ".view-", ".codi-", ".gone-")
"""With a dot before them: drafts whose makers died, and removals that were cut short."""


def touch(paths: Iterable[Path], now: float) -> None:
    """Note that something is about to be used."""
    for path in paths:
        with contextlib.suppress(OSError):  # who put it there may be somebody else
            os.utime(path, (now, now))


def prune(
    places: Iterable[Path],
    running: Callable[[], Iterable[int]],
    now: float,
    kept: Collection[Path] = (),
) -> int:
    """Remove what nobody uses in ``places``, at most ``MOST_AT_ONCE``; return how much that was.

    ``running`` are the first processes of containers; it is asked only if there may be something to remove.
    """
    idle = [path for place in places for path in _idle(place, now) if path not in kept]
    if not idle:
        return 0
    try:
        used = _mounted(running())
    except PermissionError:  # then everything may be used
        return 0
    removed = [path for path in idle if path.name not in used][:MOST_AT_ONCE]
    for path in removed:
        gone = path.with_name(f".gone-{os.urandom(6).hex()}")
        with contextlib.suppress(OSError):
            path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
    return len(removed)


def _idle(place: Path, now: float) -> list[Path]:
    found = []
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(_KINDS) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if now - entry.stat(follow_symlinks=False).st_mtime > UNUSED_SECONDS:
                        found.append(Path(entry.path))
    return found


def _mounted(running: Iterable[int]) -> set[str]:
    """Return the names on the way to whatever processes have mounted."""
    found: set[str] = set()
    for pid in running:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            for line in Path(f"/proc/{pid}/mountinfo").read_text(errors="replace").splitlines():
                found.update(line.split()[3].split("/"))  # of the source: proc(5)
    return found
