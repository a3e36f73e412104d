"""Places of what a server keeps outside of its store."""

from __future__ import annotations

from pathlib import Path

from cluster.settings import Settings


def chunk_store(settings: Settings) -> str:
    """Return where the chunks of workspaces are: a path or a bucket's URL."""
    return settings.chunk_store or str(settings.data_dir / "chunks")


def store_socket(settings: Settings, node_id: str) -> Path:
    """Return where a node's StoreActor listens."""
    return settings.data_dir / "run" / f"store-{node_id}.sock"


def machine_file(data_dir: Path) -> Path:
    """Return where a server writes down what it found of its machine at its start (``checks.dump``)."""
    return data_dir / "run" / "machine.json"


def backup_place(settings: Settings) -> str:
    """Return where backups are: a path or a bucket's URL."""
    return settings.backup_place or str(settings.data_dir / "backups")
