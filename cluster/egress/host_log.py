"""Sums up for the audit trail which hosts sessions reached, and with which secrets. Pure.

Paths and values are in no line; Unix time is given.

A host is written when it is first reached or refused; what is repeated is summed up in one line when the
window ends. Past ``HOSTS`` of one session in a window its further hosts are one line, so that nobody fills
the trail.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from actors.core.records.accounts import AuditEntry

WINDOW_SECONDS = 60.0
HOSTS = 32
MAX_SESSIONS = 10_000
ACTION = "network.connect"
ADD_ACTION = "secret.add"

Key = tuple[str, str, str]
"""Action, result, and on what."""


@dataclass(slots=True)
class _Window:
    since: float
    user_id: str | None
    counts: dict[Key, int] = field(default_factory=dict)


class HostLog:
    """The hosts of all sessions of a node."""

    def __init__(self, tenant_id: str) -> None:
        self._tenant_id = tenant_id
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def note(
        self, session_id: str, user_id: str | None, host: str, result: str, now: float
    ) -> list[AuditEntry]:
        """Note a host and port; return the lines to be written."""
        return self._note(session_id, user_id, (ACTION, result, f"host/{host}"), now)

    def note_secret(
        self, session_id: str, user_id: str | None, host: str, name: str, now: float
    ) -> list[AuditEntry]:
        """Note that a secret is added to a request; return the lines to be written."""
        key = ADD_ACTION, "ok", f"host/{host}/secret/{name}"
        return self._note(session_id, user_id, key, now)

    def _note(self, session_id: str, user_id: str | None, key: Key, now: float) -> list[AuditEntry]:
        ready: list[AuditEntry] = []
        window = self._windows.get(session_id)
        if window is not None and now - window.since >= WINDOW_SECONDS:
            ready += self._end(session_id, now)
            window = None
        if window is None:
            if len(self._windows) >= MAX_SESSIONS:
                ready += self._end(next(iter(self._windows)), now)
            window = self._windows[session_id] = _Window(now, user_id)
        if key in window.counts:
            window.counts[key] += 1
        elif len(window.counts) < HOSTS:
            window.counts[key] = 0  # its line is written now
            ready.append(self._line(window.user_id, session_id, key, 1, now))
        else:
            others = key[0], key[1], "host/*"
            window.counts[others] = window.counts.get(others, 0) + 1
        return ready

    def due(self, now: float) -> list[AuditEntry]:
        """Return the sums of windows that are over."""
        ready: list[AuditEntry] = []
        while self._windows:
            session_id, window = next(iter(self._windows.items()))
            if now - window.since < WINDOW_SECONDS:
                break
            ready += self._end(session_id, now)
        return ready

    def rest(self, now: float) -> list[AuditEntry]:
        """Return all sums, and begin anew."""
        return [line for session_id in list(self._windows) for line in self._end(session_id, now)]

    def _end(self, session_id: str, now: float) -> list[AuditEntry]:
        window = self._windows.pop(session_id)
        return [
            self._line(window.user_id, session_id, key, count, now)
            for key, count in window.counts.items()
            if count
        ]

    def _line(
        self, user_id: str | None, session_id: str, key: Key, count: int, now: float
    ) -> AuditEntry:
        action, result, what = key
        return AuditEntry(
            timestamp=now,
            tenant_id=self._tenant_id,
            user_id=user_id,
            action=action,
            resource=f"session/{session_id}/{what}",
            result=result,
            count=count,
        )
