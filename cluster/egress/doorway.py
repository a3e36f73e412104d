"""Where a container meets the gateway: a directory of its own, whose socket is nobody else's.

The directory is made by whoever launches the container or opens its door first, and mounted into that
container alone, so the socket over which something comes says whose it is, and nothing inside can claim to be
another. What lies above is passed by name only.
"""

from __future__ import annotations

import shutil
from pathlib import Path

SOCKET = "gateway"
INSIDE = "/run/coditect/egress"
"""Where the directory is mounted in the container."""

PROXY_PORT = 3128
"""Where programs of a container find the proxy, at its own loopback."""


def directory(data_dir: Path, container_id: str) -> Path:
    """Return a container's directory."""
    return data_dir / "runtime" / "egress" / container_id


def make(data_dir: Path, container_id: str) -> Path:
    """Make a container's directory. Idempotent."""
    path = directory(data_dir, container_id)
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    path.mkdir(mode=0o711, exist_ok=True)
    for made in (path.parent, path):
        made.chmod(0o711)  # whatever the umask: a container's user has to pass
    return path


def remove(data_dir: Path, container_id: str) -> None:
    """Remove it. Idempotent."""
    shutil.rmtree(directory(data_dir, container_id), ignore_errors=True)
