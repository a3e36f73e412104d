"""Holds a conversation in HTTP/1.1: CONNECT, and requests that are passed on.

Both sides speak through h11, so that what goes out is what was understood here, and no message can be read in
two ways. A request that is passed on goes to a connection of its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from cluster.egress import policy
from cluster.egress.conversation import HEADER_SECONDS, Refusal, Unreached, Visit
from cluster.egress.wire import IDLE_SECONDS, Wire

MAX_HEADERS = 64 << 10
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"upgrade"}
    | {b"proxy-connection", b"trailer", b"host"}
)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_REASONS = {400: "Bad Request", 403: "Forbidden", 408: "Request Timeout", 429: "Too Many Requests"}


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
    inside = _Side(visit.inside, h11.Connection(h11.SERVER, MAX_HEADERS))
    inside.http.receive_data(data)
    try:
        while await _serve_one(visit, inside):
            inside.http.start_next_cycle()
    except h11.RemoteProtocolError as error:
        await _answer(inside, error.error_status_hint, "bad_request", str(error))
    except h11.LocalProtocolError:
        return  # an answer that cannot be ended as it began


async def _serve_one(visit: Visit, inside: _Side) -> bool:
    """Serve a request; return whether another may follow."""
    try:
        async with asyncio.timeout(HEADER_SECONDS):
            request = await inside.event(HEADER_SECONDS)
    except TimeoutError:
        if inside.http.their_state is h11.IDLE and not inside.http.trailing_data[0]:
            return False
        await _answer(inside, 408, "slow", "the request's headers did not come")
        return False
    if not isinstance(request, h11.Request):
        return False
    connect = request.method == b"CONNECT"
    try:
        text = request.target.decode("ascii", "replace")
        target = connect_target(text) if connect else absolute_target(text)
        outside = await visit.dial(target.host, target.port)
    except BadTarget as error:
        await _answer(inside, 400, "bad_request", str(error), request)
    except Refusal as refused:
        status = 429 if refused.limit else 403
        await _answer(inside, status, refused.rule, refused.reason, request)
    except Unreached as error:
        await _answer(inside, 502, "unreached", str(error), request)
    else:
        if not connect:
            return await _pass_on(inside, _Side(visit.outside_wire(outside)), request, target)
        answer = h11.Response(status_code=200, headers=[], reason=b"Connection established")
        await inside.send(answer)
        await visit.tunnel(outside, inside.http.trailing_data[0])
    return False


async def _pass_on(inside: _Side, outside: _Side, request: h11.Request, target: Target) -> bool:
    """Pass a request on, and its answer back; return whether another request may follow."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    host = host if target.port == 80 else f"{host}:{target.port}"
    headers = [(b"Host", host.encode()), *_end_to_end(request.headers), (b"Connection", b"close")]
    await outside.send(h11.Request(method=request.method, target=target.path, headers=headers))
    upload = asyncio.create_task(_upload(inside, outside))
    try:
        await _download(inside, outside, request)
    except Refusal as refused:
        await _answer(inside, 429, refused.rule, refused.reason, request)
        return False
    except (h11.RemoteProtocolError, ConnectionError, TimeoutError) as error:
        await _answer(inside, 502, "unreached", f"{target.host}: {error}"[:200], request)
        return False
    finally:
        whole = upload.done() and not upload.cancelled() and upload.exception() is None
        upload.cancel()
        await asyncio.gather(upload, return_exceptions=True)
        outside.wire.socket.close()
    states = inside.http.our_state, inside.http.their_state
    return whole and states == (h11.DONE, h11.DONE)


async def _upload(inside: _Side, outside: _Side) -> None:
    while True:
        event = await inside.event()
        if isinstance(event, h11.Data):
            await outside.send(event)
        elif isinstance(event, h11.EndOfMessage):
            await outside.send(h11.EndOfMessage())
            return
        else:
            raise ConnectionAbortedError


async def _download(inside: _Side, outside: _Side, request: h11.Request) -> None:
    while True:
        event = await outside.event()
        if isinstance(event, h11.InformationalResponse):
            if request.http_version != b"1.0" and event.status_code != 101:
                await inside.send(event)
        elif isinstance(event, h11.Response):
            headers = _end_to_end(event.headers)
            answer = h11.Response(
                status_code=event.status_code, headers=headers, reason=event.reason
            )
            await inside.send(answer)
        elif isinstance(event, h11.Data):
            await inside.send(event)
        elif isinstance(event, h11.EndOfMessage):
            await inside.send(h11.EndOfMessage())
            return
        else:
            raise ConnectionAbortedError("it closed the connection")


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers that are not for the next hop alone (RFC 9110, 7.6.1)."""
    pairs = list(headers)
    named = {
        each.strip().lower()
        for name, value in pairs
        if name == b"connection"
        for each in value.split(b",")
    } - {b"transfer-encoding", b"content-length"}
    left_out = _HOP_BY_HOP | named
    return [(name, value) for name, value in pairs if name not in left_out]


async def _answer(
    inside: _Side, status: int, rule: str, words: str, request: h11.Request | None = None
) -> None:
    """Answer by ourselves, if that can still be done, and end: in the status line, a header and the body."""
    if inside.http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    words = _UNPRINTABLE.sub("?", words)[:300]
    says = f"{words} (rule {rule})"
    error = "http_request_denied" if status in (403, 429) else "destination_unavailable"
    body = f"coditect: {says}\n".encode()
    quoted = says.replace("\\", "").replace('"', "'")
    response = h11.Response(
        status_code=status,
        reason=f"{_REASONS.get(status, 'Bad Gateway')}: {says}".encode(),
        headers=[
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Proxy-Status", f'coditect; error={error}; details="{quoted}"'),
            ("Connection", "close"),
        ],
    )
    await inside.send(response)
    if request is None or request.method != b"HEAD":
        await inside.send(h11.Data(data=body))
    await inside.send(h11.EndOfMessage())
    await inside.wire.linger()


class _Side:
    """One side of a conversation in HTTP."""

    def __init__(self, wire: Wire, http: h11.Connection | None = None) -> None:
        self.wire = wire
        self.http = http or h11.Connection(h11.CLIENT, MAX_HEADERS)

    async def event(self, seconds: float = IDLE_SECONDS) -> h11.Event | None:
        """Return the next event, reading what it takes; None when there is none to come."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.wire.read(seconds))
        return event if isinstance(event, h11.Event) else None

    async def send(self, event: h11.Event) -> None:
        """Send an event."""
        data = self.http.send(event)
        if data:
            await self.wire.write(data)
