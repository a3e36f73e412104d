"""Asking CODI how it is: the only call that a runtime makes."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from cluster.http_exchange import exchange

_LARGEST_ANSWER = 64 << 10


async def is_healthy(address: str, secret: str) -> bool:
    """Return whether CODI at an address answers ``GET /health`` with 200; see ``ask_health``."""
    return await ask_health(address, secret) is not None


async def ask_health(address: str, secret: str) -> dict[str, Any] | None:
    """Return how CODI says it is; None if it does not answer with that.

    Waits as long as the listening socket holds the connection: the caller sets the time limit.
    Raises OSError when nobody listens or the connection breaks; Unavailable and DeadlineExceeded when
    there is no identity token for one that needs it.
    """
    sent = [("x-codi-secret", secret)]
    try:
        status, body = await exchange(address, "GET", "/health", sent, largest=_LARGEST_ANSWER)
        answer = json.loads(body) if status == HTTPStatus.OK else None
    except (ValueError, RecursionError):  # a program inside may answer in CODI's place
        return None
    return answer if isinstance(answer, dict) else None
