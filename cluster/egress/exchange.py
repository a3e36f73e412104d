"""Passes one request of HTTP/1.1 on, and its answer back.

Both sides speak through h11, so that what goes out is what was understood here, and no message can be read in
two ways. Small pieces that come together go on together, and whoever sends many of them gives the others
their turns meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import h11

from cluster.egress.conversation import Refusal
from cluster.egress.wire import IDLE_SECONDS, PIECE, Stream

MAX_HEADERS = 64 << 10
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"upgrade"}
    | {b"proxy-connection", b"trailer", b"host"}
)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    421: "Misdirected Request",
    429: "Too Many Requests",
}

Headers = Sequence[tuple[bytes, bytes]]


class Rejected(Exception):
    """A request is not passed on: which status it gets, by which rule, and why in words."""

    def __init__(self, status: int, rule: str, words: str) -> None:
        super().__init__(status, rule, words)
        self.status = status
        self.rule = rule
        self.words = words


class Side:
    """One side of a conversation in HTTP."""

    def __init__(self, wire: Stream, http: h11.Connection | None = None) -> None:
        self.wire = wire
        self.http = http or h11.Connection(h11.CLIENT, MAX_HEADERS)
        self._queued = bytearray()
        self.is_broken = False

    async def event(self, seconds: float | None = IDLE_SECONDS) -> h11.Event | None:
        """Return the next event, reading what it takes; None when there is none to come."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.wire.read(seconds))
            await self.wire.pause()
        return event if isinstance(event, h11.Event) else None

    async def send(self, event: h11.Event) -> None:
        """Send an event, and what was queued before."""
        self.queue(event)
        await self.flush()

    def queue(self, event: h11.Event) -> None:
        """Have an event sent with those that follow at once."""
        self._queued += self.http.send(event) or b""

    async def flush(self, seconds: float | None = IDLE_SECONDS) -> None:
        """Send what was queued."""
        if self._queued:
            data, self._queued = bytes(self._queued), bytearray()
            try:
                await self.wire.write(data, seconds)
            except OSError:
                self.is_broken = True  # what comes from there may still be worth reading
                raise

    @property
    def is_full(self) -> bool:
        """Whether what was queued is a piece already."""
        return len(self._queued) >= PIECE

    @property
    def is_done(self) -> bool:
        """Whether a message went each way, whole, and another may follow."""
        return (self.http.our_state, self.http.their_state) == (h11.DONE, h11.DONE)


@dataclass(frozen=True, slots=True)
class Onward:
    """A request as it goes on: to which host (and port), for which path, with which headers of our own.

    What the request has under their names is left out. ``upgrade``: both may go on in another protocol.
    ``close``: nothing follows on the connection to outside. ``idle``: for how long nothing may move.
    """

    host: bytes
    path: bytes
    headers: Headers = ()
    upgrade: bool = False
    close: bool = True
    idle: float = IDLE_SECONDS


@dataclass(frozen=True, slots=True)
class Passed:
    """An exchange: ``switched`` to another protocol; ``whole``: all of the request went out."""

    switched: bool
    whole: bool


def check(request: h11.Request) -> None:
    """Raise Rejected for a request whose end others may see elsewhere (RFC 9112, 6.1 and 6.3)."""
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" not in names:
        return
    if b"content-length" in names:
        words = "Content-Length and Transfer-Encoding exclude each other"
        raise Rejected(400, "bad_request", words)
    if request.http_version < b"1.1":
        words = f"Transfer-Encoding is not of HTTP/{request.http_version.decode()}"
        raise Rejected(400, "bad_request", words)


def check_method(request: h11.Request) -> None:
    """Raise Rejected for a method whose answer says what was added to the request (RFC 9110, 9.3.8)."""
    if request.method.upper() in {b"TRACE", b"TRACK"}:
        words = f"{request.method.decode()} would show the secret of this host"
        raise Rejected(405, "method", words)


async def pass_on(inside: Side, outside: Side, request: h11.Request, onward: Onward) -> Passed:
    """Pass a request on, and its answer back.

    It takes as long as something moves either way, and ends when the program inside has gone. Raises
    Rejected, Refusal, OSError, TimeoutError, h11.ProtocolError; what was not answered then is the caller's to
    answer.
    """
    check(request)
    ours = [*onward.headers]
    wanted = _upgrade(request.headers) if onward.upgrade else None
    if wanted is not None:
        ours += [(b"Connection", b"upgrade"), (b"Upgrade", wanted)]
    elif onward.close:
        ours += [(b"Connection", b"close")]
    replaced = {name.lower() for name, _ in ours}
    theirs = [pair for pair in _end_to_end(request.headers) if pair[0] not in replaced]
    headers = [(b"Host", onward.host), *theirs, *ours]
    await outside.send(h11.Request(method=request.method, target=onward.path, headers=headers))
    loop, whole = asyncio.get_running_loop(), asyncio.Event()
    async with asyncio.timeout(onward.idle) as limit:

        def moved() -> None:
            if not limit.expired():
                limit.reschedule(loop.time() + onward.idle)

        upload = asyncio.create_task(_upload(inside, outside, moved, whole))
        download = asyncio.create_task(
            _download(inside, outside, request, moved, upgrades=wanted is not None)
        )
        try:
            await asyncio.wait((upload, download), return_when=asyncio.FIRST_COMPLETED)
            if not download.done() and not outside.is_broken:
                await upload
            return Passed(await download, whole.is_set())
        except BaseException:
            # The host is not to go on with what nobody waits for.
            with contextlib.suppress(OSError):
                outside.wire.socket.shutdown(socket.SHUT_RDWR)
            raise
        finally:
            for task in (upload, download):
                task.cancel()
            await asyncio.gather(upload, download, return_exceptions=True)


async def _upload(
    inside: Side, outside: Side, moved: Callable[[], None], whole: asyncio.Event
) -> None:
    """Pass a request's body on; then watch, until the program goes or says more, which waits."""
    while not whole.is_set():
        try:
            event = await _next(inside, outside, moved)
        except h11.RemoteProtocolError as error:
            raise Rejected(400, "bad_request", str(error)) from None
        if isinstance(event, h11.Data):
            outside.queue(event)
        elif isinstance(event, h11.EndOfMessage):
            await outside.send(h11.EndOfMessage())
            whole.set()
        else:
            raise ConnectionAbortedError("the program has gone")
    if inside.http.trailing_data[0]:
        return
    data = await inside.wire.watch()
    if not data:
        raise ConnectionAbortedError("the program has gone")
    inside.http.receive_data(data)


async def _download(
    inside: Side,
    outside: Side,
    request: h11.Request,
    moved: Callable[[], None],
    *,
    upgrades: bool,
) -> bool:
    """Pass an answer back; return whether it was a change of protocol."""
    while True:
        event = await _next(outside, inside, moved)
        if isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                if upgrades:
                    await inside.send(_switch(event))
                return upgrades
            if request.http_version != b"1.0":
                inside.queue(event)
        elif isinstance(event, h11.Response):
            headers = _end_to_end(event.headers)
            inside.queue(
                h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
            )
        elif isinstance(event, h11.Data):
            inside.queue(event)
        elif isinstance(event, h11.EndOfMessage):
            await inside.send(h11.EndOfMessage())
            return False
        else:
            raise ConnectionAbortedError("it closed the connection")


async def _next(source: Side, target: Side, moved: Callable[[], None]) -> Any:
    """Return the next event of one side; what is queued for the other goes before it is waited for."""
    await source.wire.pause()
    while (event := source.http.next_event()) is h11.NEED_DATA:
        await target.flush(None)
        moved()
        source.http.receive_data(await source.wire.read(None))
        moved()
    if target.is_full:
        await target.flush(None)
        moved()
    return event


def _upgrade(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the protocol that a request asks for (RFC 9110, 7.8), but HTTP/2: it is not spoken here."""
    pairs = list(headers)
    asked = b",".join(value.lower() for name, value in pairs if name == b"connection")
    names = b", ".join(value for name, value in pairs if name == b"upgrade")
    if b"upgrade" not in {each.strip() for each in asked.split(b",")} or not names:
        return None
    return None if b"h2c" in names.lower() else names


def _switch(event: h11.InformationalResponse) -> h11.InformationalResponse:
    agreed = [pair for pair in event.headers if pair[0] == b"upgrade"]
    headers = [*_end_to_end(event.headers), (b"Connection", b"upgrade"), *agreed]
    return h11.InformationalResponse(status_code=101, headers=headers, reason=event.reason)


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
    if any(name == b"transfer-encoding" for name, _ in pairs):
        left_out |= {b"content-length"}  # of the two, that is what counts (RFC 9112, 6.3)
    return [(name, value) for name, value in pairs if name not in left_out]


async def answer(
    inside: Side, status: int, rule: str, words: str, request: h11.Request | None = None
) -> None:
    """Answer by ourselves, if that can still be done, and end: in the status line, a header and the body."""
    if inside.http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    words = _UNPRINTABLE.sub("?", words)[:300]
    says = f"{words} (rule {rule})"
    error = (
        "http_request_denied" if status in (400, 403, 405, 421, 429) else "destination_unavailable"
    )
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


async def answer_rejected(inside: Side, error: Rejected, request: h11.Request) -> None:
    """Answer that a request is not passed on."""
    await answer(inside, error.status, error.rule, error.words, request)


async def answer_refusal(inside: Side, refused: Refusal, request: h11.Request) -> None:
    """Answer that something is refused, by which rule and why."""
    status = 429 if refused.limit else 403
    await answer(inside, status, refused.rule, refused.reason, request)
