"""A cluster as FoundationDB's backup tools show it, in the words of the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from actors.core.errors.base import Unavailable

STATES = ["Submitted", "Running", "Completed"]


class BackupTools:
    """Backups and restores that go one step on with each look. ``files`` are written with a backup."""

    def __init__(self, files: Callable[[Path], None] = lambda _directory: None) -> None:
        self.ran: list[list[str]] = []
        self.files = files
        self.backup: list[str] = []
        self.restore: list[str] = []
        self.url: str | None = None
        self.number = 0
        self.version = 7_000_000
        self.restorable: int | None = self.version
        self.empty = True
        self.refuse: dict[str, str] = {}

    async def __call__(self, command: Sequence[str], _seconds: float) -> str:
        self.ran.append(list(command))
        tool, what = command[0], command[1]
        if tool == "fdbbackup" and what in self.refuse:
            raise Unavailable(tool, self.refuse[what])
        if tool == "fdbcli":
            return self._cli(command[-1])
        return {
            ("fdbbackup", "start"): self._start,
            ("fdbbackup", "status"): self._status,
            ("fdbbackup", "abort"): self._abort,
            ("fdbbackup", "describe"): self._describe,
            ("fdbbackup", "delete"): self._delete,
            ("fdbrestore", "start"): self._start_restore,
            ("fdbrestore", "status"): self._restore_status,
            ("fdbrestore", "abort"): self._abort_restore,
        }[tool, what](list(command))

    def _start(self, command: list[str]) -> str:
        if self.backup and self.backup[0] not in {"Completed", "Aborted"}:
            raise Unavailable("fdbbackup", "ERROR: A backup is already running on tag")
        self.number += 1
        base = command[command.index("-d") + 1]
        self.url = f"{base}/backup-{self.number}" if base.startswith("file://") else base
        self.backup = list(STATES)
        if base.startswith("file://"):
            directory = Path(self.url.removeprefix("file://"))
            directory.mkdir()
            self.files(directory)
        return "The backup was successfully submitted."

    def _status(self, command: list[str]) -> str:
        if "--json" not in command:
            return "Recent Errors: io_error"
        if not self.backup:
            return json.dumps({"SchemaVersion": "1.0.0", "Tag": "t", "BackupAgentsPaused": False})
        name = self.backup[0]
        if len(self.backup) > 1:
            self.backup.pop(0)
        status = {
            "Name": name,
            "Description": f"is {name.lower()}",
            "Completed": name == "Completed",
            "Running": name in {"Submitted", "Running"},
        }
        value = {"Status": status, "Restorable": False, "DestinationURL": self.url}
        if name == "Running":
            value |= {"RangeBytesWritten": 1000, "LogBytesWritten": 10}
        if name == "Completed":
            value["LatestRestorablePoint"] = {"Version": self.version}
        return json.dumps(value)

    def _abort(self, _command: list[str]) -> str:
        self.backup = ["Aborted"]
        return "Aborted"

    def _describe(self, _command: list[str]) -> str:
        value: dict[str, object] = {"SchemaVersion": "1.0.0", "Restorable": True}
        if self.restorable is not None:
            value["MaxRestorablePoint"] = {"Version": self.restorable, "RelativeDays": 0}
        return json.dumps(value)

    def _delete(self, command: list[str]) -> str:
        url = command[command.index("-d") + 1]
        if url.startswith("file://"):
            directory = Path(url.removeprefix("file://"))
            for path in sorted(directory.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            directory.rmdir()
        return "The entire container has been deleted."

    def _start_restore(self, _command: list[str]) -> str:
        if not self.empty:
            raise Unavailable("fdbrestore", "ERROR: Attempted to restore into a non-empty range")
        self.restore = ["queued", "starting", "running", "completed"]
        return "Restore started"

    def _restore_status(self, _command: list[str]) -> str:
        if not self.restore:
            return ""
        state = self.restore[0]
        if len(self.restore) > 1:
            self.restore.pop(0)
        if state == "completed":
            self.empty = False
        return (
            f"Tag: t  UID: 0  State: {state}  Blocks: 1/4  BlocksInProgress: 0  Files: 2  BytesWritten: "
            "5  CurrentVersion: 0 FirstConsistentVersion: 0  ApplyVersionLag: 0  LastError: None  "
            "URL: file:///place/backup-1  Range: 'a'-'b'  AddPrefix: ''  RemovePrefix: ''  Version: 1\n"
        )

    def _abort_restore(self, _command: list[str]) -> str:
        self.restore = ["aborted"]
        return "aborted"

    def _cli(self, command: str) -> str:
        assert command.startswith("getrangekeys")
        keys = "" if self.empty else "`\\x02coditect\\x00\\x14a'\n"
        return f"\nRange limited to 1 keys\n{keys}"


class NoAgent(BackupTools):
    """Nobody takes up what is submitted."""

    def _start(self, command: list[str]) -> str:
        super()._start(command)
        self.backup = ["Submitted"]
        raise Unavailable(
            "fdbbackup", "was successfully submitted but no backup agents are responding"
        )

    def _start_restore(self, command: list[str]) -> str:
        said = super()._start_restore(command)
        self.restore = ["queued"]
        return said


class StuckAgent(BackupTools):
    """Backups that are taken up and never make progress."""

    def _start(self, command: list[str]) -> str:
        said = super()._start(command)
        self.backup = ["Running"]
        return said

    def _start_restore(self, command: list[str]) -> str:
        said = super()._start_restore(command)
        self.restore = ["running"]
        return said
