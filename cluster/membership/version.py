"""What must be the same on all nodes: they exchange pickled values, and Ray wants its own and Python's so."""

from __future__ import annotations

import platform
from importlib import metadata


def own() -> str:
    """Return this installation's versions in a line."""
    server, ray = metadata.version("coditect-server"), metadata.version("ray")
    major, minor, _ = platform.python_version_tuple()
    return f"coditect-server {server}, Ray {ray}, Python {major}.{minor}"
