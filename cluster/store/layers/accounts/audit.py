"""The audit trail (ADR 10.4), in the order of the commits: keys are versionstamps.

What requests ask for is written by the ingress; what becomes of sessions and containers by whoever
writes their records, in the same transaction: see ``audit_pages.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.core.errors.requests import InvalidArgument
from actors.core.records.accounts import AuditEntry
from cluster.store.engines.interface import Engine, KeyRange, MutationKind, key_after
from cluster.store.layers.codec import decode, encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction, transact

KEEP_SECONDS = 90 * 86400.0
MAX_BATCH = 64
_REMOVED_PER_ENTRY = 4
_SCANNED_AT_ONCE = 500
MAX_SCANNED = 20_000
_STAMP_BYTES = 12


@dataclass(frozen=True, slots=True)
class Wanted:
    """A query for entries: newest first before one, or the next ones after one; None: any."""

    limit: int = 100
    before: str | None = None
    after: str | None = None
    user_id: str | None = None
    action: str | None = None

    def admits(self, entry: AuditEntry) -> bool:
        """Return whether the filters admit an entry; ``action`` also names a family, as in ``login``."""
        of_user = self.user_id is None or entry.user_id == self.user_id
        named = self.action is None or f"{entry.action}.".startswith(f"{self.action}.")
        return of_user and named


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries with their ids, newest first. ``next``: where to go on, None at the end."""

    entries: list[tuple[str, AuditEntry]]
    next: str | None


class AuditLog:
    """The trail of one tenant; what is older than ``keep_seconds`` makes room for what is added."""

    def __init__(
        self, engine: Engine, tenant_id: str, *, keep_seconds: float = KEEP_SECONDS
    ) -> None:
        self._engine = engine
        self._keep_seconds = keep_seconds
        self._keys = Keyspace(tenant_id)

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries, at most ``MAX_BATCH``, all or none of them."""

        async def work(tr: Transaction) -> None:
            # Read first: FoundationDB refuses reads of where a versionstamp may come to stand (1036).
            most = _REMOVED_PER_ENTRY * len(entries)
            oldest = await tr.get_range(self._keys.audit.range(), limit=most, snapshot=True)
            newest = max(entry.timestamp for entry in entries)
            for kept_at, data in oldest:
                if decode(AuditEntry, data).timestamp < newest - self._keep_seconds:
                    tr.clear(kept_at)
            add(tr, self._keys, entries)

        if entries:
            await transact(self._engine, work)

    async def newest(self, limit: int = 100) -> list[AuditEntry]:
        """Return the newest entries, newest first."""
        return [entry for _, entry in (await self.page(Wanted(limit))).entries]

    async def page(self, wanted: Wanted) -> AuditPage:
        """Return a page; it may be short, and even empty, before the end, when filters let little through.

        Raises InvalidArgument for an id that is none.
        """
        span, forward = self._span(wanted), wanted.after is not None
        found: list[tuple[str, AuditEntry]] = []
        scanned, place = 0, None
        while len(found) < wanted.limit and scanned < MAX_SCANNED:
            portion = await self._portion(span, forward=forward)
            for key, data in portion:
                scanned, place = scanned + 1, self._id(key)
                entry = decode(AuditEntry, data)
                if wanted.admits(entry):
                    found.append((place, entry))
                    if len(found) == wanted.limit:
                        break
            if len(portion) < _SCANNED_AT_ONCE:
                break
            last = portion[-1][0]
            span = KeyRange(key_after(last), span.end) if forward else KeyRange(span.begin, last)
        more = len(found) == wanted.limit or scanned >= MAX_SCANNED
        return AuditPage(found[::-1] if forward else found, place if more else None)

    async def _portion(self, span: KeyRange, *, forward: bool) -> list[tuple[bytes, bytes]]:
        async def work(tr: Transaction) -> list[tuple[bytes, bytes]]:
            return await tr.get_range(
                span, limit=_SCANNED_AT_ONCE, reverse=not forward, snapshot=True
            )

        return await transact(self._engine, work)

    def _span(self, wanted: Wanted) -> KeyRange:
        begin, end = self._keys.audit.range()
        if wanted.after is not None:
            begin = key_after(self._key("after", wanted.after))
        if wanted.before is not None:
            end = self._key("before", wanted.before)
        return KeyRange(begin, end)

    def _id(self, key: bytes) -> str:
        return key[-_STAMP_BYTES:].hex()

    def _key(self, field: str, entry_id: str) -> bytes:
        try:
            stamp = bytes.fromhex(entry_id)
        except ValueError:
            stamp = b""
        if len(stamp) != _STAMP_BYTES:
            raise InvalidArgument(field, "the id of an entry")
        return self._keys.audit.stamped(stamp)


def add(tr: Transaction, keys: Keyspace, entries: Sequence[AuditEntry]) -> None:
    """Add entries as part of a transaction, which reads nothing of the trail afterwards."""
    for number, entry in enumerate(entries):
        key = keys.audit.stamped_key(number)
        tr.atomic(MutationKind.SET_VERSIONSTAMPED_KEY, key, encode(entry))
