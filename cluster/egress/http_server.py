"""Holds a conversation in HTTP/1.1: CONNECT, and requests that are passed on.

A request that is passed on (``exchange.py``) goes to a connection of its own. A tunnel to a host that a
secret is bound to is held by ``intercept.py``.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from cluster.egress import intercept, policy
from cluster.egress.conversation import HEADER_SECONDS, Refusal, Unreached, Visit
from cluster.egress.exchange import (
    MAX_HEADERS,
    Headers,
    Onward,
    Rejected,
    Side,
    answer,
    answer_refusal,
    answer_rejected,
    check,
    check_method,
    pass_on,
)


@dataclass(frozen=True, slots=True)
class Target:
    """The place that a request names; ``path`` with its query."""

    host: str
    port: int
    path: str


class BadTarget(Exception):
    """A request names no place that a proxy goes to; in words."""


def connect_target(text: str) -> Target:
    """Return what a CONNECT names. Raises BadTarget."""
    try:
        host, port = policy.split(text)
    except ValueError as error:
        raise BadTarget(str(error)) from None
    if not host or port is None:
        raise BadTarget("CONNECT names host:port")
    return Target(host, port, "")


def absolute_target(text: str) -> Target:
    """Return what any other request names: an address of HTTP in full. Raises BadTarget."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise BadTarget(str(error)) from None
    if parts.scheme.lower() == "https":
        raise BadTarget("ask for https by CONNECT")
    if parts.scheme.lower() != "http" or not parts.hostname:
        raise BadTarget("this is a proxy: a request names its address in full, http://host/path")
    if parts.username is not None:
        raise BadTarget("an address has no user name")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.hostname, 80 if port is None else port, path)


async def serve(visit: Visit, data: bytes) -> None:
    """Serve a connection whose first bytes are ``data``. Raises OSError, TimeoutError."""
    inside = Side(visit.inside, h11.Connection(h11.SERVER, MAX_HEADERS))
    inside.http.receive_data(data)
    try:
        while await _serve_one(visit, inside):
            inside.http.start_next_cycle()
    except h11.RemoteProtocolError as error:
        await answer(inside, error.error_status_hint, "bad_request", str(error))
    except h11.LocalProtocolError:
        return  # an answer that cannot be ended as it began


async def _serve_one(visit: Visit, inside: Side) -> bool:
    """Serve a request; return whether another may follow."""
    try:
        async with asyncio.timeout(HEADER_SECONDS):
            request = await inside.event(HEADER_SECONDS)
    except TimeoutError:
        if inside.http.their_state is h11.IDLE and not inside.http.trailing_data[0]:
            return False
        await answer(inside, 408, "slow", "the request's headers did not come")
        return False
    if not isinstance(request, h11.Request):
        return False
    try:
        check(request)
        if request.method == b"CONNECT":
            await _connect(visit, inside, connect_target(_text(request)))
            return False
        return await _ask(visit, inside, request, absolute_target(_text(request)))
    except BadTarget as error:
        await answer(inside, 400, "bad_request", str(error), request)
    except Rejected as error:
        await answer_rejected(inside, error, request)
    except Refusal as refused:
        await answer_refusal(inside, refused, request)
    except Unreached as error:
        await answer(inside, 502, "unreached", str(error), request)
    return False


def _text(request: h11.Request) -> str:
    return request.target.decode("ascii", "replace")


async def _connect(visit: Visit, inside: Side, target: Target) -> None:
    """Serve a CONNECT. Raises Refusal, Unreached before it is answered."""
    way = await intercept.begin(visit, await visit.dial(target.host, target.port))
    await inside.send(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
    await way(inside.http.trailing_data[0])


async def _ask(visit: Visit, inside: Side, request: h11.Request, target: Target) -> bool:
    """Pass a request on; return whether another may follow. Raises Refusal, Unreached."""
    connected = await visit.dial(target.host, target.port)
    try:
        return await _ask_connected(visit, inside, request, target, connected)
    finally:
        connected.close()


async def _ask_connected(
    visit: Visit, inside: Side, request: h11.Request, target: Target, connected: socket.socket
) -> bool:
    host = f"[{target.host}]" if ":" in target.host else target.host
    host = host if target.port == 80 else f"{host}:{target.port}"
    headers: Headers = ()
    bound = await visit.bound()
    if bound is not None and not bound.https:
        check_method(request)
        headers = await visit.headers(bound)
        visit.note_added(bound)
    outside = Side(visit.outside_wire(connected))
    onward = Onward(host.encode(), target.path.encode(), headers)
    try:
        passed = await pass_on(inside, outside, request, onward)
    except (h11.RemoteProtocolError, OSError) as error:
        words = f"{target.host}: {error or 'nothing moved for long'}"[:200]
        await answer(inside, 502, "unreached", words, request)
        return False
    if not passed.whole:
        await inside.wire.linger()
    return passed.whole and inside.is_done
