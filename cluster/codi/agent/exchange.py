"""One HTTP request and its answer, over h11."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, TypeVar

import h11

from cluster.codi.agent.errors import AgentError, invalid
from cluster.codi.agent.link import Link

T = TypeVar("T")

IDLE_SECONDS = 120.0
"""Seconds for which a connection may lie unused between requests."""

STALL_SECONDS = 60.0
"""Seconds for which a body may make no progress, either way."""

MAX_JSON = 2 << 20
_MAX_HEAD = 64 << 10


class Exchange:
    """A request, and the means to answer it once.

    ``target`` is the path, still percent-encoded; ``query`` the raw text behind ``?``.
    """

    def __init__(self, link: Link, http: h11.Connection, request: h11.Request) -> None:
        self.link = link
        self.method = request.method.decode("ascii")
        path, _, query = request.target.decode("latin-1").partition("?")
        self.target, self.query = path, query
        self.headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers
        }
        self._http = http

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the request's body as it comes. Raises ConnectionResetError, TimeoutError."""
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            self.link.write(self._http.send(go_on) or b"")
        while True:
            event = await next_event(self.link, self._http, STALL_SECONDS)
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise ConnectionResetError("the body ended early")

    async def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty body is an empty object. Raises AgentError."""
        content = bytearray()
        async for part in self.body():
            content += part
            if len(content) > MAX_JSON:
                raise AgentError(413, "too_large", f"a JSON body has up to {MAX_JSON} bytes")
        if not content:
            return {}
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            raise invalid("the body is not JSON") from None
        if not isinstance(value, dict):
            raise invalid("the body is a JSON object")
        return value

    async def while_connected(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something for a caller who waits; it is cancelled when they close the connection.

        A caller who closes only their own side of it counts as gone too: no HTTP client does so.
        Raises ConnectionResetError for one who has gone.
        """
        task = asyncio.create_task(work)

        def stop(_ended: asyncio.Future[None]) -> None:
            task.cancel()

        self.link.ended.add_done_callback(stop)
        try:
            return await task
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if this is None or this.cancelling():
                raise
            raise ConnectionResetError("the caller has gone") from None
        finally:
            self.link.ended.remove_done_callback(stop)

    def answer(self, status: int, value: Any, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Answer with JSON."""
        content = json.dumps(value, separators=(",", ":")).encode("utf-8", "surrogateescape")
        self.begin(status, [("content-type", "application/json"), *headers], len(content))
        if self.method != "HEAD":
            self.send(content)
        self.finish()

    def begin(self, status: int, headers: Iterable[tuple[str, str]], length: int | None) -> None:
        """Begin an answer whose body follows with ``send`` and ``finish``."""
        sent = [*headers]
        if length is not None:
            sent.append(("content-length", str(length)))
        self._send(h11.Response(status_code=status, headers=sent))

    def send(self, data: bytes) -> None:
        """Send a part of the body."""
        self._send(h11.Data(data=data))

    def finish(self) -> None:
        """End the answer."""
        self._send(h11.EndOfMessage())

    def fail(self, error: AgentError) -> None:
        """Answer with an error, unless an answer has begun: then the connection is cut short."""
        if self._http.our_state is not h11.SEND_RESPONSE and self._http.our_state is not h11.IDLE:
            self.link.abort()
            return
        # A caller must not put the next request on a connection that ends behind a refused body.
        closing = [("connection", "close")] if self._body_is_left() else []
        body = {"code": error.code, "detail": error.detail, **error.fields}
        if self.method == "HEAD":  # it has no body to say it in
            closing.append(("x-codi-error", json.dumps(body)))
        self.answer(error.status, body, closing)

    def switch(self, headers: Iterable[tuple[str, str]]) -> bytes:
        """Leave HTTP for the protocol that was asked for; return what came behind the request.

        Raises h11.LocalProtocolError for a request that asked for none, or that has a body.
        """
        self._http.next_event()  # the end of a request without a body
        sent = [("connection", "upgrade"), *headers]
        self._send(h11.InformationalResponse(status_code=101, headers=sent))
        return self._http.trailing_data[0] + self.link.take()

    def _body_is_left(self) -> bool:
        announced = self.headers.get("content-length", "0") != "0"
        has_body = announced or "transfer-encoding" in self.headers
        return has_body and self._http.their_state is h11.SEND_BODY

    def _send(self, event: h11.Event) -> None:
        self.link.write(self._http.send(event) or b"")


def new_connection() -> h11.Connection:
    """Return the state of a new HTTP connection."""
    return h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)


async def next_event(link: Link, http: h11.Connection, timeout_seconds: float) -> Any:
    """Return the next event. Raises h11.RemoteProtocolError, TimeoutError."""
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await link.read(timeout_seconds))
    return event


async def skip_body(link: Link, http: h11.Connection) -> bool:
    """Read the rest of a request nobody wanted, if it is short; say whether that worked."""
    for _ in range(16):
        if http.their_state is not h11.SEND_BODY:
            return True
        try:
            await next_event(link, http, 1.0)
        except (TimeoutError, h11.RemoteProtocolError):
            return False
    return http.their_state is not h11.SEND_BODY
