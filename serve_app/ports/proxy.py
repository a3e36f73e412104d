"""Carries HTTP requests to a program inside and its answers back, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

import httpcore
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from actors.core.errors.base import Busy, CoditectError
from actors.core.errors.limits import TooManyRequests
from actors.core.errors.requests import NotFound
from actors.core.records.sessions import Route
from serve_app.http.pace import Paced
from serve_app.ports import headers
from serve_app.ports.answers import Notice
from serve_app.ports.hosts import Translation
from serve_app.ports.upstream import Pools

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
_POOL_SECONDS = 10.0
_WRITE_SECONDS = 60.0
_LARGEST_ANNOUNCED = 1 << 62
_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


@dataclass(frozen=True, slots=True)
class Way:
    """Where a request goes and how it is worded there. ``prefix``: the path below which it is sandboxed."""

    route: Route
    translation: Translation
    cookies: frozenset[str]
    target: bytes
    prefix: str | None = None

    @property
    def port(self) -> int:
        """The port inside."""
        return self.translation.host.port


class HttpProxy:
    """Forwards requests. ``head_seconds``: how long a program may take to begin its answer.

    ``rate``, ``patience``: how slowly bodies may come and go, since each holds a connection (``Paced``).
    """

    def __init__(self, pools: Pools, *, head_seconds: float, rate: int, patience: float) -> None:
        self._pools = pools
        self._head_seconds = head_seconds
        self._rate = rate
        self._patience = patience

    async def forward(self, way: Way, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the program's answer, or 408 when its body comes too slowly.

        Raises Notice when there is none, ClientDisconnect when either side has broken off amid it, and
        Unavailable and Fenced when the container is not there (any more).
        """
        carry = partial(self._carry, way)
        await Paced(carry, rate=self._rate, patience=self._patience)(scope, receive, send)

    async def _carry(self, way: Way, scope: Scope, receive: Receive, send: Send) -> None:
        upload = _Upload(scope, receive)
        try:
            response = await self._respond(way, scope, upload)
        except (httpcore.ReadTimeout, httpcore.WriteTimeout, TimeoutError) as error:
            raise Notice(
                HTTPStatus.GATEWAY_TIMEOUT,
                "No answer",
                f"The program on port {way.port} takes too long to answer.",
            ) from error
        except httpcore.PoolTimeout as error:
            raise _full(way.port) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise no_http(way.port) from error
        try:
            await self._answer(way, response, upload, send)
        finally:
            await response.aclose()

    async def _respond(self, way: Way, scope: Scope, upload: _Upload) -> httpcore.Response:
        """Return the beginning of the answer; what may be repeated is, once, if a connection was over."""
        pool = self._pools.of(way.route, way.port)
        for last in (False, True):
            request = self._request(way, scope, upload)
            try:
                async with asyncio.timeout(None) as limit:
                    upload.when_sent(limit, self._head_seconds)
                    asking = connecting(way.port, pool.handle_async_request(request))
                    response = await upload.while_there(asking)
            except (httpcore.ReadError, httpcore.RemoteProtocolError):
                # A kept connection that the program closed at this moment: nobody has read the request.
                if last or upload.announced or scope["method"] not in _REPEATABLE:
                    raise
                continue
            if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
                return response
            await response.aclose()
            break
        raise no_http(way.port)

    def _request(self, way: Way, scope: Scope, upload: _Upload) -> httpcore.Request:
        client = scope.get("client") or ("", 0)
        given = scope["headers"]
        sent = headers.inward(
            given,
            way.translation,
            client=str(client[0]),
            cookies=way.cookies,
            sandboxed=way.prefix is not None,
        )
        times = {
            "connect": None,
            "pool": _POOL_SECONDS,
            "write": _WRITE_SECONDS,
            "read": None,
        }
        return httpcore.Request(
            method=scope["method"],
            url=httpcore.URL(scheme=b"http", host=b"localhost", port=way.port, target=way.target),
            headers=sent,
            content=upload.parts() if upload.announced else None,
            extensions={"timeout": times},
        )

    async def _answer(
        self, way: Way, response: httpcore.Response, upload: _Upload, send: Send
    ) -> None:
        fields = headers.outward(
            response.headers, way.translation, cookies=way.cookies, prefix=way.prefix
        )
        if (
            response.status in _WITHOUT_BODY
        ):  # it may say how long one would be; ours would wait for it
            fields = [field for field in fields if field[0] != b"content-length"]
        start = {"type": "http.response.start", "status": response.status, "headers": fields}
        await send(start)
        leaving = asyncio.ensure_future(upload.until_gone())
        answering = asyncio.ensure_future(_stream(response, send))
        try:
            await asyncio.wait({leaving, answering}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise ClientDisconnect
            answering.result()
        except httpcore.NetworkError as error:
            raise ClientDisconnect from error
        except httpcore.ProtocolError as error:
            raise ClientDisconnect from error
        finally:
            for task in (leaving, answering):
                task.cancel()
            await asyncio.gather(leaving, answering, return_exceptions=True)


async def _stream(response: httpcore.Response, send: Send) -> None:
    async for part in response.aiter_stream():
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class _Upload:
    """The body of a request, passed on as it comes, and the end of whoever sends it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._read = False
        self._limit: asyncio.Timeout | None = None
        self._seconds = 0.0
        self.announced = any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in scope["headers"]
        )

    def when_sent(self, limit: asyncio.Timeout, seconds: float) -> None:
        """Have a limit begin as soon as the body has been sent."""
        self._limit, self._seconds = limit, seconds
        if not self.announced:
            self._begin()

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body. Raises ClientDisconnect."""
        while not self._read:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._read = not message.get("more_body", False)
            if message.get("body"):
                yield message["body"]
        self._begin()

    async def while_there(self, work: Awaitable[httpcore.Response]) -> httpcore.Response:
        """Do something for the sender. Raises ClientDisconnect when they go before it is done.

        While a body is on its way, ``parts`` sees to that.
        """
        if self.announced:
            return await work
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(self.until_gone())
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientDisconnect
            return working.result()
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    async def until_gone(self) -> None:
        """Return when the sender has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            continue

    def _begin(self) -> None:
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._seconds)


async def connecting(port: int, work: Awaitable[httpcore.Response]) -> httpcore.Response:
    """Wait for what opens a tunnel; what keeps it from being opened is said of the port. Raises Notice."""
    try:
        return await work
    except CoditectError as error:
        raise unreachable(port, error) from error


def unreachable(port: int, error: CoditectError) -> Exception:
    """Return what to say of a port that cannot be reached: a Notice, unless it is the container's matter."""
    match error:
        case NotFound():
            return Notice(
                HTTPStatus.BAD_GATEWAY,
                f"Nothing listens on port {port}",
                "Start the program in the workspace; this page tries again by itself.",
                retry=True,
            )
        case Busy() | TooManyRequests():
            return _full(port)
    return error


def _full(port: int) -> Notice:
    return Notice(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Too many connections",
        f"The program on port {port} has as many connections as it takes.",
        retry=True,
    )


def no_http(port: int) -> Notice:
    """Return what to say of a program that does not speak HTTP."""
    return Notice(
        HTTPStatus.BAD_GATEWAY,
        "This is not a page",
        f"What listens on port {port} closed the connection, or answered with something else than HTTP.",
    )
