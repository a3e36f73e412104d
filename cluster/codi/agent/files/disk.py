"""Measures the workspace's use of its disk, and names it in errors of a full one."""

from __future__ import annotations

import errno
import os
from typing import Any

from cluster.codi.agent.errors import AgentError, from_os_error

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LAST_BYTES = 1 << 20
_LAST_FILES = 16


class Disk:
    """The file system of a workspace; ``limited``: it is the workspace's own, as large as its quota."""

    def __init__(self, workspace: str, *, limited: bool) -> None:
        self._workspace = workspace
        self._limited = limited

    def usage(self) -> dict[str, Any]:
        """Return bytes and files used, and their limits; all None where the disk is the machine's."""
        if not self._limited:
            return dict.fromkeys(("used_bytes", "limit_bytes", "used_files", "limit_files"))
        found = os.statvfs(self._workspace)
        return {
            "used_bytes": (found.f_blocks - found.f_bfree) * found.f_frsize,
            "limit_bytes": found.f_blocks * found.f_frsize,
            "used_files": found.f_files - found.f_ffree,
            "limit_files": found.f_files,
        }

    def error(self, refused: OSError) -> AgentError:
        """Translate what the system refused; of a full disk, which of its limits was reached."""
        if refused.errno not in _FULL or not self._limited:
            return from_os_error(refused)
        usage = self.usage()
        files_left = usage["limit_files"] - usage["used_files"]
        bytes_left = usage["limit_bytes"] - usage["used_bytes"]
        of_files = files_left < _LAST_FILES and bytes_left > _LAST_BYTES
        resource, kind = ("container_inodes", "files") if of_files else ("container_disk", "bytes")
        used, limit = usage[f"used_{kind}"], usage[f"limit_{kind}"]
        detail = (
            f"the container's disk holds {used} of {limit} {kind} ({resource}): delete something"
        )
        fields = {"resource": resource, "used": used, "limit": limit}
        return AgentError(507, "disk_quota_exceeded", detail, **fields)
