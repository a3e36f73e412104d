"""Files for what a program prints beyond what its answer has. Blocking: run in a thread.

They lie in the workspace below a name that is not archived, and count for its disk alone. The newest few
are kept: an answer that nobody reads must not fill anything.
"""

from __future__ import annotations

import contextlib
import os
import re

from cluster.codi.agent.files.paths import Workspace

DIRECTORY = b".cache/coditect/output"
MAX_FILE = 256 << 20
_MAX_FILES = 16
_NAME = re.compile(rb"[0-9a-f]{16}\.(stdout|stderr)")
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Spill:
    """One file, begun by the first ``add``. ``path`` is None before."""

    def __init__(self, workspace: Workspace, stream: str) -> None:
        self._workspace = workspace
        self._name = f"{os.urandom(8).hex()}.{stream}".encode()
        self._size = 0
        self.path: str | None = None

    def add(self, data: bytes) -> bool:
        """Add data; false once the file is as long as it may be. Raises OSError, AgentError."""
        directory = self._workspace.make_directories(DIRECTORY)
        try:
            if self.path is None:
                _make_room(directory)
            fd = os.open(self._name, _FLAGS, 0o600, dir_fd=directory)
            try:
                view = memoryview(data)[: MAX_FILE - self._size]
                while view:
                    written = os.write(fd, view)
                    self._size += written
                    view = view[written:]
            finally:
                os.close(fd)
        finally:
            os.close(directory)
        self.path = os.fsdecode(DIRECTORY + b"/" + self._name)
        return self._size < MAX_FILE


def _make_room(directory: int) -> None:
    """Remove the oldest files but for those that are kept, and none that is not one of these."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        found = []
        for name in map(os.fsencode, os.listdir(fd)):
            if _NAME.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    found.append((status.st_mtime_ns, name))
        for _, name in sorted(found, reverse=True)[_MAX_FILES - 1 :]:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=fd)
    finally:
        os.close(fd)
