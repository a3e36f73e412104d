"""A program as people write them, which listens on a port: pages, streams, sockets, uploads."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

BLOCK = os.urandom(1 << 16)


async def seen(request: Request) -> Response:
    """Return the request as it came."""
    body = await request.body()
    return PlainTextResponse(
        json.dumps(
            {
                "method": request.method,
                "path": request.scope["raw_path"].decode(),
                "query": request.scope["query_string"].decode(),
                "headers": [[n.decode(), v.decode("latin-1")] for n, v in request.scope["headers"]],
                "body": body.decode(),
            }
        ),
        media_type="application/json",
    )


async def redirect(request: Request) -> Response:
    """Redirect as frameworks do, by the host that they are called by."""
    return RedirectResponse(f"http://{request.headers['host']}/seen?after=1", 302)


async def cookies(_request: Request) -> Response:
    """Set cookies of every kind."""
    response = PlainTextResponse("set")
    response.raw_headers += [
        (b"set-cookie", b"mine=1; Path=/; Domain=localhost; HttpOnly"),
        (b"set-cookie", b"other=2; domain=.example.com"),
        (b"set-cookie", b"coditect_port=forged; Path=/"),
        (b"clear-site-data", b'"cookies"'),
        (b"alt-svc", b'h3=":443"'),
        (b"x-app", b"kept"),
    ]
    return response


async def events(_request: Request) -> Response:
    """Send an event, and the next one when it is asked for."""

    async def stream() -> AsyncIterator[str]:
        for number in range(3):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.05)
        await asyncio.Event().wait()

    return StreamingResponse(stream(), media_type="text/event-stream")


async def download(request: Request) -> Response:
    """Send as many bytes as are asked for; their digest is known from ``BLOCK``."""
    size = int(request.path_params["size"])

    async def parts() -> AsyncIterator[bytes]:
        for begin in range(0, size, len(BLOCK)):
            yield BLOCK[: min(len(BLOCK), size - begin)]

    return StreamingResponse(parts(), headers={"content-length": str(size)})


async def upload(request: Request) -> Response:
    """Return the digest of what is sent, and how it was announced."""
    digest, size = hashlib.blake2b(), 0
    async for part in request.stream():
        digest.update(part)
        size += len(part)
    told = request.headers.get("content-length", request.headers.get("transfer-encoding"))
    return PlainTextResponse(f"{size} {digest.hexdigest()} {told}")


async def hang(_request: Request) -> Response:
    """Answer nothing, for long."""
    await asyncio.sleep(3600)
    return PlainTextResponse("at last")


async def echo(socket: WebSocket) -> None:
    """Echo text and bytes; close when asked to."""
    wanted = socket.scope["subprotocols"]
    await socket.accept(wanted[-1] if wanted else None, headers=[(b"set-cookie", b"ws=1")])
    await socket.send_text(json.dumps(dict(socket.headers)))
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") == "close":
                await socket.close(4321, "as asked")
                return
            await socket.send({**message, "type": "websocket.send"})
    except WebSocketDisconnect:
        return


async def refuse(socket: WebSocket) -> None:
    """Refuse a socket."""
    await socket.send_denial_response(PlainTextResponse("not you", 403, {"x-why": "so"}))


ANY = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
program = Starlette(
    routes=[
        Route("/seen", seen, methods=ANY),
        Route("/seen/{rest:path}", seen, methods=ANY),
        Route("/redirect", redirect),
        Route("/cookies", cookies),
        Route("/events", events),
        Route("/download/{size}", download),
        Route("/upload", upload, methods=["POST", "PUT"]),
        Route("/hang", hang),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/refuse", refuse),
    ]
)
