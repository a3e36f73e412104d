"""Logs of Ray's processes, Serve's and ours: one directory below the data directory, and not without end.

Ray rotates each file (``RAY_ROTATION_MAX_BYTES``), but every worker begins files of its own, and workers
come and go by the thousand. What the dead ones left goes, the oldest first, once there is too much of it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

KEEP_BYTES = 256 << 20
KEEP_SECONDS = 14 * 86400.0
PRUNE_SECONDS = 60.0
_QUIET_SECONDS = 3600.0
# worker-…-PID.err, python-core-worker-…_PID.log, controller_PID.log; rotated: ….log.1
_PID = re.compile(r"[-_](\d+)\.(?:out|err|log)(?:\.\d+)?$")


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file: its bytes, when it was written last (Unix seconds), whether its writer may live."""

    path: Path
    size: int
    changed: float
    living: bool


def superfluous(files: Iterable[LogFile], now: float) -> list[Path]:
    """Return what goes: what is old, and the oldest of what is too much. Pure."""
    dead = sorted((each for each in files if not each.living), key=lambda each: -each.changed)
    kept, gone = 0, []
    for each in dead:
        kept += each.size
        if kept > KEEP_BYTES or now - each.changed > KEEP_SECONDS:
            gone.append(each.path)
    return gone


def prune(directory: Path, now: float) -> None:
    """Remove what is superfluous below a directory."""
    for path in superfluous(_files(directory, now), now):
        path.unlink(missing_ok=True)


def _files(directory: Path, now: float) -> Iterable[LogFile]:
    for parent, _, names in os.walk(directory):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(OSError):
                status = path.lstat()
                found = _PID.search(name)
                if found is not None:
                    living = Path("/proc", found[1]).exists()
                else:
                    living = now - status.st_mtime < _QUIET_SECONDS
                yield LogFile(path, status.st_size, status.st_mtime, living)
