"""The public registry of Python packages, as pip knows it: its hosts, and whether it can be reached."""

from __future__ import annotations

import urllib.error
import urllib.request
from urllib.parse import urlsplit

from pip._internal.models.index import PyPI

REACH_SECONDS = 10.0


def hosts() -> list[str]:
    """Return the hosts that pip asks unless it is told otherwise."""
    return [str(urlsplit(PyPI.simple_url).hostname), PyPI.file_storage_domain]


def is_reached() -> bool:
    """Return whether this machine reaches the registry."""
    try:
        with urllib.request.urlopen(f"{PyPI.simple_url}/pip/", timeout=REACH_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
