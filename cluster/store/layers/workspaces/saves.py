"""Saves under an idempotency key: who carries one out, and what it was answered. Takes transactions.

Under a key lies first who has *begun* the save, with a lease that they renew while bytes come in, and
later its *receipt*, written in the transaction that commits the version. Of two at once one waits; after
a death the lease runs out, and whoever retries goes on in the dead one's place and knows that the file
may be written already.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from actors.core.errors.base import Busy
from actors.core.records.archive import Receipt, SaveAnswer
from cluster.store.layers import idempotency
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction

LEASE_SECONDS = 15.0


class Turn(Enum):
    """The part of a caller of ``begin``: carry the save out, wait, or take its receipt."""

    FIRST = "first"
    AGAIN = "again"  # somebody began before and went away: the file may be written already
    WAIT = "wait"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Begun:
    """The answer of ``begin``; ``receipt`` and ``digest`` of the content when it is done."""

    turn: Turn
    path: str
    receipt: Receipt | None = None
    digest: str = ""


def place_of(session_id: str, key: str) -> str:
    """Return the idempotency key of a save."""
    return f"save/{session_id}/{key}"


async def begin(
    tr: Transaction, keys: Keyspace, key: str, token: str, path: str, now: float
) -> Begun:
    """Begin a save, or renew the lease of one's own; ``token`` names the caller."""
    kept = _parse(await idempotency.recall(tr, keys, key))
    if "receipt" in kept:
        receipt = Receipt.model_validate(kept["receipt"])
        return Begun(Turn.DONE, receipt.path, receipt, str(kept.get("digest", "")))
    held = kept.get("token") not in {None, token}
    if held and float(kept["until"]) > now:
        return Begun(Turn.WAIT, str(kept["path"]))
    again = held or kept.get("again") is True
    if kept and kept["path"] != path:
        return Begun(Turn.WAIT, str(kept["path"]))
    begun = {"token": token, "until": now + LEASE_SECONDS, "path": path, "again": again}
    await idempotency.remember(tr, keys, key, json.dumps(begun).encode(), now)
    return Begun(Turn.AGAIN if again else Turn.FIRST, path)


async def abandon(tr: Transaction, keys: Keyspace, key: str, token: str) -> None:
    """Give up a save that was certainly not carried out, unless somebody else has it by now."""
    if _parse(await idempotency.recall(tr, keys, key)).get("token") == token:
        tr.clear(idempotency.place(keys, key))


async def done(tr: Transaction, keys: Keyspace, answer: SaveAnswer) -> int | None:
    """Return the version of a save that was committed before; None if it is yet to be.

    Raises Busy when somebody else carries it out.
    """
    kept = _parse(await idempotency.recall(tr, keys, answer.key))
    if "receipt" in kept:
        return int(kept["receipt"]["version"])
    if kept.get("token") not in {None, answer.token}:
        raise Busy("a save under this idempotency key is under way", 1.0)
    return None


async def finish(
    tr: Transaction, keys: Keyspace, answer: SaveAnswer, version: int, now: float
) -> None:
    """Write the receipt; part of the transaction that makes the version."""
    # json escapes what a path holds that is no UTF-8, where pydantic's own would refuse it.
    receipt = answer.receipt(version).model_dump()
    kept = {"receipt": receipt, "digest": answer.digest}
    await idempotency.remember(tr, keys, answer.key, json.dumps(kept).encode(), now)


def _parse(data: bytes | None) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(data) if data else {}
    return kept
