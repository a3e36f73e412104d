"""The containers of one data directory, on disk: how any process finds them again.

For a container ``ID`` there are ``ID.json`` (written before anything is started, and again when
CODI answers), ``ID.status`` (bubblewrap's own words: the child's pid, later its exit code) and
``ID.log`` (what bubblewrap and CODI say). So a container is found even when whoever launched it
was killed half-way, and its record never reached the store.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from pydantic import ValidationError

from actors.core.records.base import Frozen
from actors.core.records.containers import ContainerHandle
from cluster.runtime.cgroups import Group
from cluster.runtime.processes import ProcessIdentity

_LOG_KEPT = 1 << 20


class Processes(Frozen):
    """A container's processes, kept in ``ContainerHandle.data``. All is None until it is known.

    ``init`` is the first process of the pid namespace: with it, everything in the container ends.
    ``monitor`` is bubblewrap outside, ``agent`` is CODI. ``user_id`` is the container's user outside,
    where it has one of its own.
    """

    group: Group | None = None
    monitor: ProcessIdentity | None = None
    init: ProcessIdentity | None = None
    agent: ProcessIdentity | None = None
    user_id: int | None = None

    @classmethod
    def of(cls, handle: ContainerHandle) -> Processes:
        """Return what a handle says. Raises pydantic's ValidationError for another runtime's handle."""
        return cls.model_validate(handle.data)


def user_of(handle: ContainerHandle) -> int:
    """Return the user id, outside, of a container's programs."""
    user = Processes.of(handle).user_id
    return os.geteuid() if user is None else user


class Entry(Frozen):
    """The entry of one container: its handle, who launched it and when (Unix time)."""

    handle: ContainerHandle
    launcher: ProcessIdentity
    started_at: float
    ready: bool = False


class Registry:
    """The files of one data directory. Every write is atomic."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @classmethod
    def of(cls, data_dir: Path) -> Registry:
        """Return the registry of a server's data directory."""
        return cls(data_dir / "runtime" / "containers")

    def prepare(self) -> None:
        """Make the directory."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, entry: Entry) -> None:
        """Write an entry, mode 0600: it holds the container's secret."""
        target = self._path(entry.handle.container_id, "json")
        draft = self._directory / f".{target.name}.{os.getpid()}"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(entry.model_dump_json())
        draft.replace(target)

    def read(self, container_id: str) -> Entry | None:
        """Return an entry, or None when there is none that can be read."""
        try:
            return Entry.model_validate_json(self._content(container_id))
        except ValidationError:
            return None

    def ids(self) -> list[str]:
        """Return the ids of all entries."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        return sorted(n.removesuffix(".json") for n in names if n.endswith(".json") and n[0] != ".")

    def on_workspace(self, workspace_id: str) -> list[Entry]:
        """Return the entries of a workspace's containers.

        Each launch asks, so entries that do not name the workspace anywhere are not looked at further.
        """
        named = [i for i in self.ids() if workspace_id.encode() in self._content(i)]
        found = map(self.read, named)
        return [entry for entry in found if entry and entry.handle.workspace_id == workspace_id]

    def user_ids(self) -> frozenset[int]:
        """Return the user ids of containers that are not known to have left nothing behind."""
        found = set()
        for container_id in self.ids():
            # Every launch asks, so it is not looked at whether all else of the entry is well.
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(self._content(container_id))
                found.add(entry["handle"]["data"]["user_id"])
        return frozenset(user for user in found if isinstance(user, int))

    def _content(self, container_id: str) -> bytes:
        """Return an entry as it is written; b"" when there is none."""
        try:
            with open(f"{self._directory}/{container_id}.json", "rb", buffering=0) as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def remove(self, container_id: str) -> None:
        """Remove everything about a container. Idempotent."""
        self.remove_words(container_id)
        # Last: it is what finds the others.
        self._path(container_id, "json").unlink(missing_ok=True)

    def remove_words(self, container_id: str) -> None:
        """Remove what a container and bubblewrap have said: it has been stopped. Idempotent."""
        for kind in ("status", "log"):
            self._path(container_id, kind).unlink(missing_ok=True)

    def open_log(self, container_id: str) -> int:
        """Make the log anew and return a descriptor that appends. The caller closes it."""
        path = self._path(container_id, "log")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        return os.open(path, flags, 0o600)

    def open_status(self, container_id: str) -> int:
        """Make the status file anew and return a descriptor for bubblewrap. The caller closes it."""
        path = self._path(container_id, "status")
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def last_words(self, container_id: str, lines: int = 5) -> str:
        """Return the end of the log, on one line."""
        try:
            with self._path(container_id, "log").open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 4096))
                tail = log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return " | ".join(line.strip() for line in tail[-lines:] if line.strip())

    def bound_log(self, container_id: str) -> None:
        """Cut a log that has grown beyond a mebibyte back to nothing (writers append, so they go on)."""
        path = self._path(container_id, "log")
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > _LOG_KEPT:
                os.truncate(path, 0)

    def status(self, container_id: str) -> Status:
        """Return what bubblewrap has said so far."""
        path = self._path(container_id, "status")
        try:
            with path.open(encoding="utf-8") as file:
                return parse_status(file.read(), os.fstat(file.fileno()).st_mtime)
        except FileNotFoundError:
            return Status()

    def _path(self, container_id: str, kind: str) -> Path:
        return self._directory / f"{container_id}.{kind}"


class Status(Frozen):
    """bubblewrap's status file: the child's pid outside, its exit code, and when it was last written."""

    child_pid: int | None = None
    exit_code: int | None = None
    written_at: float | None = None


def parse_status(text: str, written_at: float) -> Status:
    """Parse the lines of ``--json-status-fd``; an incomplete last line is left out."""
    facts: dict[str, int] = {}
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            facts |= json.loads(line)
    return Status(
        child_pid=facts.get("child-pid"), exit_code=facts.get("exit-code"), written_at=written_at
    )
