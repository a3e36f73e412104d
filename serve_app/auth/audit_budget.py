"""Bounds what one party may fill of the audit trail, so that a flood drowns nobody else. Pure: time is given.

A user, and all strangers together, may write so many lines a window; what is more is summed up by action,
resource and result, at the window's end, in lines that say how many they stand for. What happens rarely
keeps its own line: a party that floods with one thing has its other deeds listed by their names.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from actors.core.records.accounts import AuditEntry

WINDOW_SECONDS = 60.0
LINES = 60
STRANGERS_LINES = 20
SUMS = 20
MAX_PARTIES = 10_000
STRANGERS = ""
SIGN_IN = "login"
# Few can, and nobody shall wonder afterwards which account it was.
EVERY_LINE = ("user.", "password.")


@dataclass(slots=True)
class _Party:
    since: float
    lines: int = 0
    sums: dict[tuple[str, str, str], AuditEntry] = field(default_factory=dict)


class Budget:
    """Decides which entries are written now, and which are summed up."""

    def __init__(self) -> None:
        self._parties: OrderedDict[str, _Party] = OrderedDict()

    def take(self, entry: AuditEntry, now: float) -> list[AuditEntry]:
        """Return what is to be written for an entry: mostly itself."""
        if entry.action.startswith(EVERY_LINE):
            return [entry]
        name = _party(entry)
        party = self._parties.get(name)
        ready: list[AuditEntry] = []
        if party is not None and now - party.since >= WINDOW_SECONDS:
            ready += self._parties.pop(name).sums.values()
            party = None
        if party is None:
            party = self._parties[name] = _Party(now)
            while len(self._parties) > MAX_PARTIES:
                ready += self._parties.popitem(last=False)[1].sums.values()
        if party.lines < (LINES if name else STRANGERS_LINES):
            party.lines += 1
            return [*ready, entry]
        _sum_up(party.sums, entry)
        return ready

    def due(self, now: float) -> list[AuditEntry]:
        """Return the sums whose windows are over."""
        ready: list[AuditEntry] = []
        while self._parties:
            name, party = next(
                iter(self._parties.items())
            )  # they are in the order of their windows
            if now - party.since < WINDOW_SECONDS:
                break
            del self._parties[name]
            ready += party.sums.values()
        return ready

    def rest(self) -> list[AuditEntry]:
        """Return all sums, and begin anew."""
        ready = [entry for party in self._parties.values() for entry in party.sums.values()]
        self._parties.clear()
        return ready


def _party(entry: AuditEntry) -> str:
    """Return whose budget an entry is of. Whoever fails to sign in is a stranger, whatever the account."""
    failed = entry.action == SIGN_IN and entry.result != "ok"
    return STRANGERS if failed or entry.user_id is None else entry.user_id


def _sum_up(sums: dict[tuple[str, str, str], AuditEntry], entry: AuditEntry) -> None:
    key = (entry.action, entry.resource, entry.result)
    if key not in sums and len(sums) >= SUMS:
        # Too many things: by name alone, of which there are few.
        key = (entry.action, "*", entry.result)
    known = sums.get(key)
    if known is None:
        sums[key] = entry.model_copy(update={"resource": key[1]})
        return
    same = known.ip_address == entry.ip_address
    sums[key] = known.model_copy(
        update={
            "count": known.count + entry.count,
            "timestamp": entry.timestamp,
            "ip_address": known.ip_address if same else None,
            "user_id": known.user_id if known.user_id == entry.user_id else None,
        }
    )
