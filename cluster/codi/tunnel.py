"""The server's end of a tunnel to a port inside a container (``GET /tcp/{port}`` of CODI)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from http import HTTPStatus

import h11

from actors.core.errors.base import DeadlineExceeded, Unavailable, Unreached
from actors.core.records.sessions import Route
from cluster.codi.answers import COMPONENT, Asked, error_from, headers
from cluster.container_address import parse

_LARGEST_HEAD = 16 << 10
_LARGEST_ERROR = 64 << 10
_END_OF_HEAD = b"\r\n\r\n"


async def open_tunnel(route: Route, port: int, *, timeout_seconds: float = 10.0) -> socket.socket:
    """Connect to a port at the loopback inside, over IPv4 or IPv6; return the connection.

    It is a plain TCP socket, non-blocking, on which nothing was read that the program inside has sent:
    give it to ``asyncio.open_connection(sock=…)`` or ``loop.create_connection(…, sock=…)``, and close
    it. Each side may end its direction by itself (shutdown(2)). It lives as long as the container, or
    until a side closes it; a newer epoch does not end it.

    Raises NotFound where nothing listens, Busy where the program takes no connection, TooManyRequests
    (256 a container), Unreached and Unavailable when the container is gone, DeadlineExceeded, Fenced.
    """
    if parse(route.address).audience is not None:
        raise Unavailable(COMPONENT, "Google's front lets no tunnel through to its ports")
    with contextlib.ExitStack() as undone:
        try:
            async with asyncio.timeout(timeout_seconds):
                made = await _connected(route, undone)
                await asyncio.get_running_loop().sock_sendall(made, _request(route, port))
                status, body = await _answer(made)
        except TimeoutError:
            raise DeadlineExceeded(f"the connection to port {port}", timeout_seconds) from None
        except (OSError, h11.RemoteProtocolError) as error:
            raise Unavailable(COMPONENT, str(error) or type(error).__name__) from error
        if status != HTTPStatus.SWITCHING_PROTOCOLS:
            raise error_from(status, body, Asked(route, "port", str(port)))
        undone.pop_all()
        return made


async def _connected(route: Route, undone: contextlib.ExitStack) -> socket.socket:
    host, _, port = route.address.rpartition(":")
    host = host.strip("[]")
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    undone.callback(made.close)
    made.settimeout(0)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        await asyncio.get_running_loop().sock_connect(made, (host, int(port)))
    except OSError as error:
        raise Unreached(COMPONENT, str(error) or type(error).__name__) from error
    return made


def _request(route: Route, port: int) -> bytes:
    fields = {"host": route.address, "connection": "upgrade", "upgrade": "tcp", **headers(route)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"GET /tcp/{port} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


async def _answer(made: socket.socket) -> tuple[int, bytes]:
    """Read the answer to the upgrade and not a byte behind it; the body is that of a refusal."""
    peer = h11.Connection(h11.CLIENT)
    peer.send(
        h11.Request(
            method="GET",
            target="/",
            headers=[("host", "codi"), ("connection", "upgrade"), ("upgrade", "tcp")],
        )
    )
    peer.send(h11.EndOfMessage())
    peer.receive_data(await _head(made))
    event = peer.next_event()
    if isinstance(event, h11.InformationalResponse):
        return event.status_code, b""
    if not isinstance(event, h11.Response):
        raise ConnectionResetError("no answer to the upgrade")
    body = bytearray()
    while not isinstance(part := peer.next_event(), h11.EndOfMessage):
        if isinstance(part, h11.Data):
            body += part.data
        elif len(body) > _LARGEST_ERROR:
            raise ConnectionResetError("an answer that is too long")
        else:
            peer.receive_data(await asyncio.get_running_loop().sock_recv(made, 16 << 10))
    return event.status_code, bytes(body)


async def _head(made: socket.socket) -> bytes:
    """Take bytes up to the end of the head: what is behind it is the program's, and stays in the socket."""
    head = bytearray()
    while len(head) < _LARGEST_HEAD:
        await _readable(made)
        try:
            seen = made.recv(4096, socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if not seen:
            raise ConnectionResetError("closed without an answer")
        overlap = max(0, len(head) - len(_END_OF_HEAD) + 1)
        end = (head + seen).find(_END_OF_HEAD, overlap)
        taken = len(seen) if end < 0 else end + len(_END_OF_HEAD) - len(head)
        head += made.recv(taken)
        if end >= 0:
            return bytes(head)
    raise ConnectionResetError("an answer whose head does not end")


async def _readable(made: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(made, wake)
    try:
        await ready
    finally:
        loop.remove_reader(made)
