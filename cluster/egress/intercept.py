"""Holds the conversation of a tunnel to a host that its user has bound a secret to.

The gateway is that host to the program inside, by a certificate of the node's authority (``authority.py``),
and to the host it is the program. Each request gets the secret; whatever else the host's name, or an answer,
makes the program do, goes by connections of their own, and gets nothing. A request for another name is
refused: a server of many names would hand the secret to whoever has the other one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import h11

from cluster.egress import policy
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
from cluster.egress.tls import TlsWire
from cluster.egress.wire import PIECE, TUNNEL_IDLE_SECONDS, Stream

_LAST_SECONDS = 5.0
"""For how long one direction goes on when the other has ended."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tunnel goes to."""

    host: str
    port: int
    https: bool

    @property
    def authority(self) -> bytes:
        """The host as requests name it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.https else 80
        return (host if self.port == usual else f"{host}:{self.port}").encode()

    def is_named(self, text: bytes) -> bool:
        """Return whether a Host header means this origin."""
        try:
            host, port = policy.split(text.decode("ascii"))
            name = policy.normal(host)
        except ValueError:
            return False
        return (name, port or (443 if self.https else 80)) == (self.host, self.port)


async def begin(visit: Visit, connected: socket.socket) -> Callable[[bytes], Awaitable[None]]:
    """Return how a tunnel to what was connected to goes on, given what came early from inside.

    Raises Refusal, Unreached.
    """
    bound = await visit.bound()
    if bound is None:
        return partial(visit.tunnel, connected)
    await visit.headers(bound)  # a secret that does not open is said at once
    origin = Origin(*visit.place, bound.https)
    context = visit.context(origin.host) if origin.https else None
    return partial(_serve, visit, origin, context, await _reach(visit, origin, connected))


async def _reach(visit: Visit, origin: Origin, outside: socket.socket) -> Side:
    """Return the side of a host that was connected to. Raises Unreached when it is not who it has to be."""
    wire = visit.outside_wire(outside)
    if not origin.https:
        return Side(wire)
    place = f"{origin.host}:{origin.port}"
    secured = TlsWire(wire, visit.upstream, host=origin.host)
    try:
        await secured.handshake()
    except ssl.SSLCertVerificationError as error:
        words = f"{place} has no certificate that the server accepts: {error.verify_message}"
        raise Unreached(words) from None
    except (OSError, TimeoutError) as error:
        raise Unreached(f"{place} does not speak TLS: {error}") from None
    return Side(secured)


async def _serve(
    visit: Visit, origin: Origin, context: ssl.SSLContext | None, outside: Side, early: bytes
) -> None:
    """Hold the conversation; ``early`` came from inside before. Raises OSError, TimeoutError."""
    wire: Stream = visit.inside
    if context is not None:
        secured = TlsWire(visit.inside, context, server_side=True)
        await secured.handshake(early)
        wire, early = secured, b""
    inside = Side(wire, h11.Connection(h11.SERVER, MAX_HEADERS))
    if early:
        inside.http.receive_data(early)
    way: Side | None = outside
    try:
        while await _is_again(inside):
            way = await _serve_one(visit, origin, inside, way)
            if not inside.is_done:
                break
            inside.http.start_next_cycle()
    except h11.RemoteProtocolError as error:
        await answer(inside, error.error_status_hint, "bad_request", str(error))
    except h11.LocalProtocolError:
        pass  # an answer that cannot be ended as it began
    if isinstance(wire, TlsWire):
        await wire.farewell()


async def _is_again(inside: Side) -> bool:
    """Wait for a request; return whether one begins."""
    while not inside.http.trailing_data[0]:
        data = await inside.wire.read(TUNNEL_IDLE_SECONDS)
        if not data:
            return False
        inside.http.receive_data(data)
    return True


async def _serve_one(
    visit: Visit, origin: Origin, inside: Side, outside: Side | None
) -> Side | None:
    """Serve a request, and return the side of the host if it may be used again."""
    try:
        async with asyncio.timeout(HEADER_SECONDS):
            request = await inside.event(None)
    except TimeoutError:
        await answer(inside, 408, "slow", "the request's headers did not come")
        return None
    if not isinstance(request, h11.Request):
        return None
    try:
        _check(origin, request)
        if outside is None or not outside.wire.is_quiet():
            outside = await _reach(visit, origin, await visit.dial(origin.host, origin.port))
        # Last, since what was taken back meanwhile is not to be added.
        headers = await _headers(visit, origin)
        onward = Onward(
            origin.authority,
            request.target,
            headers,
            upgrade=True,
            close=False,
            idle=TUNNEL_IDLE_SECONDS,
        )
        passed = await pass_on(inside, outside, request, onward)
    except Rejected as error:
        await answer_rejected(inside, error, request)
    except Refusal as refused:
        await answer_refusal(inside, refused, request)
    except Unreached as error:
        await answer(inside, 502, "unreached", str(error), request)
    except (h11.RemoteProtocolError, OSError) as error:
        words = f"{origin.host}: {error or 'nothing moved for long'}"[:200]
        await answer(inside, 502, "unreached", words, request)
    else:
        if passed.switched:
            await _pump(inside, outside)
        elif not passed.whole:
            await inside.wire.linger()
        elif outside.is_done and outside.http.trailing_data == (b"", False):
            outside.http.start_next_cycle()
            return outside
    return None


def _check(origin: Origin, request: h11.Request) -> None:
    """Raise Rejected for a request that is not to this origin, or says more than one thing."""
    named = [value for name, value in request.headers if name == b"host"]
    if request.method == b"CONNECT":
        raise Rejected(405, "method", "this connection leads to its host already")
    at_all = request.target == b"*" and request.method == b"OPTIONS"
    if not all(map(origin.is_named, named)) or not (request.target.startswith(b"/") or at_all):
        words = f"this connection is for {origin.authority.decode()} alone"
        raise Rejected(421, "other_host", words)
    check(request)
    check_method(request)


async def _headers(visit: Visit, origin: Origin) -> Headers:
    """Return what a request gets. Raises Refusal, Unreached."""
    bound = await visit.bound()
    if bound is None or bound.https != origin.https:
        raise Refusal("secret_gone", f"no secret is bound to {origin.host} any more: connect again")
    headers = await visit.headers(bound)
    visit.note_added(bound)
    return headers


async def _pump(inside: Side, outside: Side) -> None:
    """Move what is said in another protocol, until either side ends and the other has had some time."""
    ways = (
        asyncio.create_task(_move(inside, outside)),
        asyncio.create_task(_move(outside, inside)),
    )
    try:
        ended, others = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if others and not any(way.exception() for way in ended):
            await asyncio.wait(others, timeout=_LAST_SECONDS)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _move(source: Side, target: Side) -> None:
    data = bytes(source.http.trailing_data[0])
    while True:
        for begin in range(0, len(data), PIECE):
            await target.wire.write(data[begin : begin + PIECE], TUNNEL_IDLE_SECONDS)
        await source.wire.pause()
        data = await source.wire.read(None)
        if not data:
            return
