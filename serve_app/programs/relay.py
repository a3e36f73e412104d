"""A program's socket to the container, joined to a caller's: frames pass as they are, both ways.

The window of input is the caller's to keep to, so nothing waits here but one frame each way, and a signal
overtakes input that nobody reads.
"""

from __future__ import annotations

import asyncio

from websockets.exceptions import ConnectionClosed

from actors.core.errors.base import CoditectError, Unavailable
from actors.core.errors.requests import InvalidArgument
from cluster.codi.answers import COMPONENT
from cluster.codi.programs.client import connect_program
from cluster.codi.programs.frames import Start, parse_asked
from cluster.codi.sockets import CodiSocket
from cluster.codi.terminals.frames import BadFrame, control, encoded
from serve_app.http import problems
from serve_app.http.browser_socket import BrowserSocket, Disconnected
from serve_app.ingress import Ingress

START_SECONDS = 30.0
_CLOSE_NORMAL = 1000


async def relay_program(ingress: Ingress, socket: BrowserSocket, session_id: str) -> None:
    """Start what the first frame names, and relay to its end. Raises CoditectError, Disconnected."""
    start = await _first_frame(socket)
    try:
        connection, pid = await ingress.gateway.once_on_container(
            session_id, lambda route: connect_program(route, start)
        )
    except CoditectError as error:
        problem, _ = problems.from_error(error, socket.path)
        await socket.send(encoded(problem | {"type": "refused"}))
        raise
    try:
        await socket.send(control("started", pid=pid))
        up = asyncio.create_task(_from_caller(socket, connection), name="input of a program")
        down = asyncio.create_task(_to_caller(socket, connection), name="output of a program")
        try:
            done, _ = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            (down if down in done else up).result()
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
    finally:
        connection.transport.abort()


async def _first_frame(socket: BrowserSocket) -> Start:
    try:
        async with asyncio.timeout(START_SECONDS):
            frame = await socket.receive()
        if frame is None:
            raise Disconnected("before it said what to start")
        asked = parse_asked(frame) if isinstance(frame, str) else None
    except TimeoutError:
        raise InvalidArgument("start", f"no program was named for {START_SECONDS:g} s") from None
    except BadFrame as error:
        raise InvalidArgument("start", str(error)) from None
    if not isinstance(asked, Start):
        raise InvalidArgument("start", "the first frame starts the program")
    return asked


async def _from_caller(socket: BrowserSocket, connection: CodiSocket) -> None:
    """Pass frames on until the caller goes."""
    while (frame := await socket.receive()) is not None:
        try:
            await connection.send(frame)
        except ConnectionClosed:
            await asyncio.Event().wait()  # the other task says how it ended, and ends this one
    raise Disconnected("the caller has gone")


async def _to_caller(socket: BrowserSocket, connection: CodiSocket) -> None:
    """Pass frames on to the end of the program. Raises Unavailable when the container goes before it."""
    try:
        while True:
            await socket.send(await connection.recv())
    except ConnectionClosed as closed:
        said = closed.rcvd
        if said is None or said.code in (1001, 1006):
            raise Unavailable(COMPONENT, str(closed)) from None
        await socket.close(said.code, said.reason)
