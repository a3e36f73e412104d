"""Keeps what `coditect login` got: one file, readable by its owner only."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """One login."""

    url: str
    email: str
    session_id: str
    access_token: str
    refresh_token: str


def default_path() -> Path:
    """Return ``$XDG_CONFIG_HOME/coditect/credentials.json`` (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "coditect" / "credentials.json"


def load(path: Path) -> Credentials | None:
    """Return the stored login, or nothing when there is none or the file is not one of ours.

    Raises OSError when there is one that cannot be read.
    """
    try:
        login = Credentials(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None
    return login if all(isinstance(value, str) for value in asdict(login).values()) else None


def save(path: Path, credentials: Credentials) -> None:
    """Replace the stored login in one step, with mode 0600 from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(credentials), file)
    Path(name).replace(path)
