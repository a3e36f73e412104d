"""Asking CODI how it is: the only call that a runtime makes."""

from __future__ import annotations

from cluster.http_exchange import exchange

_LARGEST_ANSWER = 64 << 10


async def is_healthy(address: str, secret: str) -> bool:
    """Return whether CODI at ``host:port`` answers ``GET /health`` with 200.

    Waits as long as the listening socket holds the connection: the caller sets the time limit.
    Raises OSError when nobody listens or the connection breaks.
    """
    sent = [("x-codi-secret", secret)]
    try:
        status, _ = await exchange(address, "GET", "/health", sent, largest=_LARGEST_ANSWER)
    except ValueError:
        return False
    return status == 200
