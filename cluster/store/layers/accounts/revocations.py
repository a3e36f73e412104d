"""The list of ended logins, in the order of their ends, which the replicas of the ingress follow.

An entry is about one login, or about an account: all of its logins before a generation, but for one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from cluster.store.engines.interface import KeyRange, MutationKind, key_after
from cluster.store.layers import changes
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction

KEEP_SECONDS = 3600.0
_PAGE = 1000
_REMOVED_PER_CALL = 4


@dataclass(frozen=True, slots=True)
class EndedLogin:
    """A login, or all of an account, that ended at ``at``, and its place in the order of all ends.

    Without a ``family_id`` those end that are of an earlier ``generation``, but not ``kept``.
    """

    place: bytes
    user_id: str
    at: float
    family_id: str | None = None
    generation: int = 0
    kept: str | None = None


class Ends:
    """The entries; the methods are parts of transactions. ``keep``: how long they are, in seconds."""

    def __init__(self, keys: Keyspace, keep: float) -> None:
        self._all_keys = keys
        self._keys = keys.ended_logins
        self._keep = keep

    async def add_login(self, tr: Transaction, user_id: str, family_id: str, now: float) -> None:
        """Record the end of one login."""
        await self._add(tr, {"user_id": user_id, "family_id": family_id, "at": now}, now)

    async def add_account(
        self, tr: Transaction, user_id: str, generation: int, kept: str | None, now: float
    ) -> None:
        """Record the end of an account's logins."""
        ended = {"user_id": user_id, "generation": generation, "kept": kept, "at": now}
        await self._add(tr, ended, now)

    async def after(self, tr: Transaction, place: bytes | None) -> list[EndedLogin]:
        """Return a page of ends after ``place``, in order."""
        begin, end = self._keys.range()
        span = KeyRange(begin if place is None else key_after(place), end)
        return [
            _decoded(key, value)
            for key, value in await tr.get_range(span, limit=_PAGE, snapshot=True)
        ]

    async def _add(self, tr: Transaction, entry: dict[str, object], now: float) -> None:
        # Read first: FoundationDB refuses reads of where a versionstamp may come to stand (1036).
        oldest = await tr.get_range(self._keys.range(), limit=_REMOVED_PER_CALL, snapshot=True)
        for key, value in oldest:
            if _decoded(key, value).at < now - self._keep:
                tr.clear(key)
        stamped = self._keys.stamped_key()
        tr.atomic(MutationKind.SET_VERSIONSTAMPED_KEY, stamped, json.dumps(entry).encode())
        changes.mark(tr, self._all_keys, changes.ENDED_LOGINS)


def _decoded(place: bytes, value: bytes) -> EndedLogin:
    ended = json.loads(value)
    return EndedLogin(
        place,
        str(ended.get("user_id", "")),  # not recorded by an earlier release
        float(ended["at"]),
        ended.get("family_id"),
        int(ended.get("generation", 0)),
        ended.get("kept"),
    )
