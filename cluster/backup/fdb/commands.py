"""Command lines of FoundationDB's backup tools, and what their answers mean, in the words of 7.1.

Its manual: "Backup, Restore, and Replication for Disaster Recovery".
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.core.errors.base import Unavailable
from cluster.store.engines.fdb.layout import Layout

FDB_TOOLS = ("fdbbackup", "fdbrestore", "fdbcli")
GONE = "Backup does not exist"
"""The answer of ``FdbCommands.delete`` for a backup that is gone."""
NOTHING_LEFT = "Backup Container URL invalid"
"""Its answer for a directory in which it finds no backup: gone, or its removal was cut short."""
_PROGRESS = re.compile(
    r"State: (?P<state>\S+)\s+Blocks: (?P<done>\d+)/(?P<whole>\d+).*?BytesWritten: (?P<written>\d+)"
    r".*?LastError: (?P<error>.*?)\s*(?:URL:|$)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """A backup under way or past. ``written`` is bytes so far; ``version`` what it can be restored to."""

    running: bool
    completed: bool
    begun: bool
    description: str
    written: int
    version: int | None
    url: str | None

    @property
    def moved(self) -> tuple[object, ...]:
        """The fields that change while it makes progress."""
        return (self.description, self.written, self.version)


@dataclass(frozen=True, slots=True)
class RestoreStatus:
    """A restore under way or past. ``done`` of ``whole`` blocks are written; no ``error`` is None."""

    state: str
    done: int
    whole: int
    written: int
    error: str | None

    @property
    def running(self) -> bool:
        """True until it has ended."""
        return self.state in {"queued", "starting", "running"}

    @property
    def begun(self) -> bool:
        """True once an agent has taken it up."""
        return self.state not in {"unitialized", "queued"}  # spelt as it is there

    @property
    def moved(self) -> tuple[object, ...]:
        """The fields that change while it makes progress."""
        return (self.state, self.done, self.whole, self.written)


@dataclass(frozen=True, slots=True)
class FdbCommands:
    """The commands for one server's part of a cluster; no ``cluster_file`` is the tools' default.

    A tag is a slot in which a cluster runs one backup at a time. It is always the same for a server,
    so that one left behind by a death is found again.
    """

    cluster_file: Path | None
    prefix: str

    @property
    def tag(self) -> str:
        """The slot of this server's backups and restores."""
        return f"coditect-{self.prefix}"

    def start(self, url: str) -> list[str]:
        """Begin a backup of this server's keys; ends as soon as the cluster knows of it."""
        return ["fdbbackup", "start", *self._cluster(), "-t", self.tag, "-d", url, *self._keys()]

    def status(self) -> list[str]:
        """Show the last backup; for ``read_backup_status``."""
        return ["fdbbackup", "status", *self._cluster(), "-t", self.tag, "--json"]

    def errors(self) -> list[str]:
        """Show the last backup in words, with what its agents met."""
        return ["fdbbackup", "status", *self._cluster(), "-t", self.tag, "-e", "5"]

    def abort(self) -> list[str]:
        """End the backup that runs."""
        return ["fdbbackup", "abort", *self._cluster(), "-t", self.tag]

    @staticmethod
    def describe(url: str) -> list[str]:
        """Describe a finished backup; for ``read_restorable``."""
        return ["fdbbackup", "describe", "-d", url, "--json"]

    @staticmethod
    def delete(url: str) -> list[str]:
        """Remove a finished backup."""
        return ["fdbbackup", "delete", "-d", url]

    def restore(self, url: str, version: int) -> list[str]:
        """Begin a restore of this server's keys; the whole cluster is locked until it has ended."""
        where = [*self._destination(), "-t", self.tag]
        return ["fdbrestore", "start", *where, "-r", url, "-v", str(version), *self._keys()]

    def restore_status(self) -> list[str]:
        """Show the last restore; for ``read_restore_status``."""
        return ["fdbrestore", "status", *self._destination(), "-t", self.tag]

    def abort_restore(self) -> list[str]:
        """End the restore that runs and unlock the cluster; what it has written stays."""
        return ["fdbrestore", "abort", *self._destination(), "-t", self.tag]

    def first_key(self) -> list[str]:
        """Show the first of this server's keys; for ``read_empty``."""
        begin, end = self._range()
        return self._cli(f"getrangekeys {begin} {end} 1")

    def clear_hint(self) -> str:
        """Return what a person types into ``fdbcli`` to remove this server's keys."""
        begin, end = self._range()
        return f"writemode on; clearrange {begin} {end}"

    def _cluster(self) -> list[str]:
        return [] if self.cluster_file is None else ["-C", str(self.cluster_file)]

    def _destination(self) -> list[str]:
        return [] if self.cluster_file is None else ["--dest-cluster-file", str(self.cluster_file)]

    def _keys(self) -> list[str]:
        return ["-k", " ".join(self._range())]

    def _cli(self, command: str) -> list[str]:
        return ["fdbcli", *self._cluster(), "--timeout", "60", "--exec", command]

    def _range(self) -> tuple[str, str]:
        whole = Layout(self.prefix).whole
        return _escaped(whole.begin), _escaped(whole.end)


def read_backup_status(text: str) -> BackupStatus:
    """Read what ``FdbCommands.status`` says. Raises Unavailable for anything else."""
    value = _document("fdbbackup status", text)
    status = value.get("Status", {})
    name = str(status.get("Name", ""))
    point = value.get("LatestRestorablePoint", {})
    return BackupStatus(
        running=bool(status.get("Running", False)),
        completed=bool(status.get("Completed", False)),
        begun=bool(name) and name.lower() != "submitted",
        description=str(status.get("Description", "never began")),
        written=int(value.get("RangeBytesWritten", 0)) + int(value.get("LogBytesWritten", 0)),
        version=int(point["Version"]) if "Version" in point else None,
        url=value.get("DestinationURL"),
    )


def read_restorable(text: str) -> int | None:
    """Return the newest version that a backup can be restored to, by ``FdbCommands.describe``."""
    point = _document("fdbbackup describe", text).get("MaxRestorablePoint", {})
    return int(point["Version"]) if "Version" in point else None


def read_restore_status(text: str) -> RestoreStatus:
    """Read what ``FdbCommands.restore_status`` says. Raises Unavailable for anything else."""
    found = _PROGRESS.search(text)
    if found is None:
        raise Unavailable("fdbrestore status", text[-500:] or "said nothing")
    return RestoreStatus(
        state=found["state"],
        done=int(found["done"]),
        whole=int(found["whole"]),
        written=int(found["written"]),
        error=None if found["error"] == "None" else found["error"],
    )


def read_empty(text: str) -> bool:
    """Return whether ``FdbCommands.first_key`` found none. Raises Unavailable if it did not look."""
    if "Range limited to" not in text:
        raise Unavailable("fdbcli", text[-500:] or "said nothing")
    return not any(line.startswith("`") for line in text.splitlines())


def local_directory(url: str) -> Path | None:
    """Return the directory of a ``file://`` URL, None for another one."""
    return Path(url.removeprefix("file://")) if url.startswith("file://") else None


def _document(what: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text[text.index("{") :])
    except ValueError:
        raise Unavailable(what, text[-500:] or "said nothing") from None
    if not isinstance(value, dict):
        raise Unavailable(what, text[-500:])
    return value


def _escaped(key: Sequence[int]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in key)
