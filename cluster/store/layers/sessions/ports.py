"""Keeps how a session's ports are shared. Every function takes a transaction."""

from __future__ import annotations

from collections.abc import Callable

from actors.core.errors.requests import InvalidArgument, NotFound
from actors.core.records.ports import MAX_PORTS, PortShare, PortShares
from actors.core.records.sessions import SessionRecord
from cluster.store.layers.codec import decode_optional, encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import sessions
from cluster.store.transactions.transaction import Transaction


async def get(tr: Transaction, keys: Keyspace, session_id: str) -> tuple[SessionRecord, PortShares]:
    """Return a session with its shared ports. Raises NotFound."""
    record = await sessions.get(tr, keys, session_id)
    if record is None:
        raise NotFound("session", session_id)
    shares = decode_optional(PortShares, await tr.get(keys.port_shares.key(session_id)))
    return record, shares or PortShares()


async def share(
    tr: Transaction,
    keys: Keyspace,
    session_id: str,
    port: int,
    change: Callable[[PortShare], PortShare],
) -> PortShare:
    """Change how a port is shared; ``change`` is pure. Raises NotFound, InvalidArgument."""
    _, known = await get(tr, keys, session_id)
    changed = change(known.of(port))
    shares = {each: share for each, share in known.shares.items() if each != port}
    if changed != PortShare():
        shares[port] = changed
    if len(shares) > MAX_PORTS:
        raise InvalidArgument("port", f"up to {MAX_PORTS} ports of a session are shared")
    tr.set(keys.port_shares.key(session_id), encode(PortShares(shares=shares)))
    return changed
