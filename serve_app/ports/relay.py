"""Carries a WebSocket's messages to a program inside and back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from starlette.types import Message, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from actors.core.errors.base import CoditectError
from cluster.codi.tunnel import open_tunnel
from serve_app.ports import answers, headers
from serve_app.ports.proxy import Way, no_http, unreachable

_HANDSHAKE_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
_MAX_MESSAGE = 4 << 20
_NORMAL, _GOING_AWAY, _NO_STATUS, _ABNORMAL = 1000, 1001, 1005, 1006
_LARGEST_REFUSAL = 64 << 10
_Field = tuple[bytes, bytes]


async def relay(way: Way, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one socket to its end. Raises Notice, Unavailable, Fenced before it was accepted."""
    try:
        upstream = await _connected(way, scope)
    except InvalidStatus as refused:
        response = refused.response
        fields = [(name.encode(), value.encode()) for name, value in response.headers.raw_items()]
        kept = headers.outward(fields, way.translation, cookies=way.cookies, prefix=way.prefix)
        kept = [field for field in kept if field[0] != b"content-length"]
        body = bytes(response.body or b"")[:_LARGEST_REFUSAL]
        await answers.answer(scope, receive, send, response.status_code, kept, body)
        return
    except (OSError, EOFError, ValueError, InvalidHandshake) as error:
        raise no_http(way.port) from error
    except CoditectError as error:
        raise unreachable(way.port, error) from error
    try:
        await receive()  # websocket.connect
        await send(_acceptance(way, upstream))
        await _carry(upstream, receive, send)
    finally:
        upstream.transport.abort()


async def _connected(way: Way, scope: Scope) -> ClientConnection:
    client = scope.get("client") or ("", 0)
    given: list[_Field] = scope["headers"]
    fields = headers.inward(
        given,
        way.translation,
        client=str(client[0]),
        cookies=way.cookies,
        sandboxed=way.prefix is not None,
        socket=True,
    )
    sent = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in fields
        if name != b"host"
    ]
    made = await open_tunnel(way.route, way.port)
    try:
        return await connect(
            f"ws://localhost:{way.port}{way.target.decode('latin-1')}",
            sock=made,
            additional_headers=sent,
            subprotocols=[Subprotocol(each) for each in scope.get("subprotocols", ())] or None,
            compression=None,
            user_agent_header=None,
            proxy=None,
            open_timeout=_HANDSHAKE_SECONDS,
            close_timeout=_CLOSE_SECONDS,
            ping_interval=None,  # the browser's side is asked whether it is there, and this one is near
            max_size=_MAX_MESSAGE,
            max_queue=1,
            process_exception=lambda error: error,
        )
    except BaseException:
        made.close()
        raise


def _acceptance(way: Way, upstream: ClientConnection) -> Message:
    response = upstream.response
    raw = response.headers.raw_items() if response is not None else ()
    fields = [(name.encode(), value.encode("latin-1", "replace")) for name, value in raw]
    kept = headers.outward(fields, way.translation, cookies=way.cookies, prefix=way.prefix)
    return {
        "type": "websocket.accept",
        "subprotocol": upstream.subprotocol,
        "headers": [field for field in kept if field[0] == b"set-cookie"],
    }


async def _carry(upstream: ClientConnection, receive: Receive, send: Send) -> None:
    """Pass messages on until a side closes, and then its close code."""
    inward = asyncio.ensure_future(_inward(upstream, receive))
    outward = asyncio.ensure_future(_outward(upstream, send))
    try:
        done, _ = await asyncio.wait({inward, outward}, return_when=asyncio.FIRST_COMPLETED)
        if inward in done:
            code, reason = inward.result()
            with suppress(TimeoutError, ConnectionClosed):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await upstream.close(code, reason)
        else:
            outward.result()
    finally:
        for task in (inward, outward):
            task.cancel()
        await asyncio.gather(inward, outward, return_exceptions=True)


async def _inward(upstream: ClientConnection, receive: Receive) -> tuple[int, str]:
    """Pass on what the browser sends; return with which code it has gone."""
    while True:
        message: Any = await receive()
        if message["type"] != "websocket.receive":
            code = message.get("code") or _NO_STATUS
            usable = _NORMAL <= code < 5000 and code not in {_NO_STATUS, _ABNORMAL, 1015}
            return (code if usable else _GOING_AWAY), str(message.get("reason") or "")
        data = message.get("bytes")
        try:
            await upstream.send(message["text"] if data is None else data)
        except ConnectionClosed:
            await asyncio.Event().wait()  # the other task says with which code


async def _outward(upstream: ClientConnection, send: Send) -> None:
    """Pass on what the program sends, its close included."""
    try:
        while True:
            message = await upstream.recv()
            kind = "text" if isinstance(message, str) else "bytes"
            await send({"type": "websocket.send", kind: message})
    except ConnectionClosed as closed:
        received = closed.rcvd
        code = received.code if received is not None else _GOING_AWAY
        if code in {_NO_STATUS, _ABNORMAL}:
            code = _NORMAL
        reason = received.reason if received is not None else "the program has gone"
    with suppress(RuntimeError, OSError):  # the browser may have gone, too
        await send({"type": "websocket.close", "code": code, "reason": reason})
