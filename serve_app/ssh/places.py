"""Where the gateway listens: the port that people connect to, and the socket that replicas do.

A port that was chosen is kept beside what else lasts, since clients remember it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cluster.settings import Settings

FIRST_PORT = 2222
CHOICES = 78
_ANY = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True)
class Place:
    """An address that the gateway listens on."""

    host: str
    port: int


def place_file(data_dir: Path) -> Path:
    """Return where the gateway writes down its place."""
    return data_dir / "ssh.json"


def read(data_dir: Path) -> Place | None:
    """Return where the gateway was listening last, if that is known."""
    try:
        return Place(**json.loads(place_file(data_dir).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write(settings: Settings, place: Place) -> None:
    """Keep where the gateway listens."""
    file = place_file(settings.data_dir)
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(place)))
    draft.replace(file)


def candidates(settings: Settings, kept: Place | None) -> list[int]:
    """Return the ports to try, in order: the setting's, or the kept one, then those from 2222 on."""
    if settings.ssh_port:
        return [settings.ssh_port]
    chosen = range(FIRST_PORT, FIRST_PORT + CHOICES)
    return list(dict.fromkeys([*([kept.port] if kept is not None else []), *chosen, 0]))


def host_of(settings: Settings) -> str:
    """Return the address to listen on: the ingress's unless there is another."""
    return settings.host if settings.ssh_host is None else settings.ssh_host


def reachable(place: Place | None, base_url: str) -> str:
    """Return the name by which a client that knows ``base_url`` reaches the gateway."""
    if place is None or place.host in _ANY:
        return urlsplit(base_url).hostname or "127.0.0.1"
    return place.host


def gateway_socket(settings: Settings, node_id: str) -> Path:
    """Return where a node's gateway takes connections from the ingress's replicas."""
    return settings.data_dir / "run" / f"ssh-{node_id}.sock"
