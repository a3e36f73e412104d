"""Holds a conversation in SOCKS 5; what it means is in ``socks.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cluster.egress import intercept, socks
from cluster.egress.conversation import HEADER_SECONDS, Refusal, Unreached, Visit

R = TypeVar("R")


async def serve(visit: Visit, data: bytes) -> None:
    """Serve a connection whose first bytes are ``data``. Raises OSError, TimeoutError."""
    try:
        used, data = await _until(visit, data, socks.methods)
    except socks.BadSocks:
        await visit.inside.write(socks.NONE_ACCEPTABLE)
        return
    await visit.inside.write(socks.CHOSEN)
    try:
        request, data = await _until(visit, data[used:], socks.request)
    except socks.BadSocks as error:
        await visit.inside.write(socks.reply(error.reply or socks.FAILED))
        return
    try:
        way = await intercept.begin(visit, await visit.dial(request.host, request.port))
    except Refusal:
        await visit.inside.write(socks.reply(socks.NOT_ALLOWED))
        return
    except Unreached:
        await visit.inside.write(socks.reply(socks.UNREACHABLE))
        return
    await visit.inside.write(socks.reply(socks.SUCCEEDED))
    await way(data[request.used :])


async def _until(visit: Visit, data: bytes, parse: Callable[[bytes], R | None]) -> tuple[R, bytes]:
    """Read until something is parsed; return it, and all that was read."""
    while (found := parse(data)) is None:
        more = await visit.inside.read(HEADER_SECONDS)
        if not more or len(data) > socks.MAX_BYTES:
            raise ConnectionAbortedError
        data += more
    return found, data
