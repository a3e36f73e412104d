"""The WebSockets: terminals and events. Plain ASGI, since every frame counts."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from actors.core.errors.base import CoditectError
from actors.core.errors.requests import InvalidArgument
from actors.core.records.sessions import SessionEvent
from cluster.codi.terminals.frames import (
    CLOSE_ENDED,
    CLOSE_SLOW,
    BadFrame,
    check_name,
    parse_request,
)
from serve_app.auth.identity import SUBPROTOCOL
from serve_app.auth.sign_in import Visitor
from serve_app.auth.tokens import Login
from serve_app.http.browser_socket import BrowserSocket, Disconnected
from serve_app.ingress import Ingress
from serve_app.programs.relay import relay_program
from serve_app.routes.common import check_session_id
from serve_app.routes.terminals import is_known, publish_terminals
from serve_app.sessions.event_hub import status_of
from serve_app.terminals.relay import TerminalRelay
from serve_app.terminals.relay_state import RelayState

logger = structlog.get_logger(__name__)

TERMINAL_PATH = "/api/v1/sessions/{session_id}/terminals/{name}/ws"
EVENTS_PATH = "/api/v1/sessions/{session_id}/events"
PROGRAM_PATH = "/api/v1/sessions/{session_id}/exec/ws"
MAX_NAME = 64
MAX_EVENTS_WAITING = 256


def install(app: FastAPI) -> None:
    """Add the sockets to the application."""
    app.router.routes.append(WebSocketRoute(TERMINAL_PATH, _Endpoint(app, _Terminal)))
    app.router.routes.append(WebSocketRoute(EVENTS_PATH, _Endpoint(app, _Events)))
    app.router.routes.append(WebSocketRoute(PROGRAM_PATH, _Endpoint(app, _Program)))


class _Endpoint:
    """An ASGI application: Starlette would wrap a function in its own WebSocket object."""

    def __init__(self, app: FastAPI, kind: type[_Terminal | _Events | _Program]) -> None:
        self._app = app
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket."""
        await _serve(self._app.state.ingress, self._kind(), BrowserSocket(scope, receive, send))


async def _serve(
    ingress: Ingress, kind: _Terminal | _Events | _Program, socket: BrowserSocket
) -> None:
    session_id = socket.parameters["session_id"]
    socket.state["route"] = kind.path
    try:
        kind.prepare(ingress, socket)
        check_session_id(session_id)
        caller = await ingress.identity.of_socket(
            socket.scheme, socket.headers, socket.query.get("ticket"), socket.subprotocols
        )
        socket.state["user_id"] = caller.user_id
        visitor = Visitor(socket.address, socket.headers.get("user-agent", ""))
        await ingress.enter(session_id, caller, visitor)
    except CoditectError as error:
        await socket.refuse(error)
        return
    ingress.sign_in.note_later(caller.user_id, kind.action, f"sessions/{session_id}", visitor, "ok")
    ingress.metrics.sockets += 1
    try:
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.subprotocols else None)
        await _while_signed_in(ingress, caller.login, kind.run(ingress, socket, session_id))
    except Disconnected:
        return
    except CoditectError as error:
        await socket.fail(error)
    finally:
        ingress.metrics.sockets -= 1


async def _while_signed_in(ingress: Ingress, login: Login, work: Coroutine[Any, Any, None]) -> None:
    """Serve a socket for as long as its login lasts. Raises what the work does, Unauthenticated."""
    working = asyncio.create_task(work, name="socket")
    ending = asyncio.create_task(ingress.ended.require_live(login), name="end of the login")
    try:
        done, _ = await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        (working if working in done else ending).result()
    finally:
        for task in (working, ending):
            task.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)


class _Terminal:
    """``WS …/terminals/{name}/ws?client=&offset=&input_offset=&cols=&rows=``."""

    path = TERMINAL_PATH
    action = "terminal.attach"

    def prepare(self, ingress: Ingress, socket: BrowserSocket) -> None:
        """Check what is asked for. Raises InvalidArgument."""
        self._name = socket.parameters["name"]
        if len(self._name) > MAX_NAME:
            raise InvalidArgument("name", f"up to {MAX_NAME} characters")
        try:
            check_name(self._name)
            asked = parse_request(socket.query)
        except BadFrame as error:
            field, _, reason = str(error).partition(": ")
            raise InvalidArgument(field, reason) from None
        client = asked.client or ingress.deps.new_id("w")
        self._request = replace(asked, client=client, create=True)

    async def run(self, ingress: Ingress, socket: BrowserSocket, session_id: str) -> None:
        """Relay until either side has had enough."""
        lease = ingress.deps.new_id("l")
        # Asked before its shell can start: the others hear of a terminal that is new.
        looking = asyncio.create_task(is_known(ingress, session_id, self._name), name="terminal")
        try:
            route = await ingress.attachments.attach(session_id, lease)
            known = await looking
        finally:
            looking.cancel()
        relay = TerminalRelay(
            ingress.relay_tools, socket, RelayState(self._request), session_id, self._name
        )
        try:
            if not known:
                await publish_terminals(ingress, session_id, self._name)
            await relay.run(route)
        finally:
            ingress.attachments.detach(session_id, lease)


class _Events:
    """``WS …/events``: the state at first, then every event as one JSON text frame."""

    path = EVENTS_PATH
    action = "session.follow"

    def prepare(self, ingress: Ingress, socket: BrowserSocket) -> None:
        """Take any request."""

    async def run(self, ingress: Ingress, socket: BrowserSocket, session_id: str) -> None:
        """Send events until the browser goes or the session ends."""
        waiting: deque[SessionEvent] = deque()
        changed = asyncio.Event()

        def listen(event: SessionEvent) -> None:
            if len(waiting) <= MAX_EVENTS_WAITING:
                waiting.append(event)
            changed.set()

        lease = ingress.deps.new_id("l")
        await ingress.attachments.attach(session_id, lease)
        ingress.hub.listen(session_id, listen)
        publishing = asyncio.create_task(
            self._publish(ingress, socket, session_id, waiting, changed),
            name=f"events {session_id}",
        )
        reading = asyncio.create_task(_until_gone(socket), name=f"reader of events {session_id}")
        try:
            done, _ = await asyncio.wait({publishing, reading}, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            ingress.hub.unlisten(session_id, listen)
            for task in (publishing, reading):
                task.cancel()
            await asyncio.gather(publishing, reading, return_exceptions=True)
            ingress.attachments.detach(session_id, lease)

    async def _publish(
        self,
        ingress: Ingress,
        socket: BrowserSocket,
        session_id: str,
        waiting: deque[SessionEvent],
        changed: asyncio.Event,
    ) -> None:
        record = await ingress.gateway.view(session_id)
        await socket.send(json.dumps(status_of(record).model_dump(mode="json")))
        while True:
            await changed.wait()
            changed.clear()
            while waiting:
                if len(waiting) > MAX_EVENTS_WAITING:
                    await socket.close(CLOSE_SLOW, "events were not read")
                    return
                event = waiting.popleft()
                await socket.send(json.dumps(event.model_dump(mode="json")))
                if event.type == "ended":
                    await socket.close(CLOSE_ENDED, "the session has ended")
                    return


class _Program:
    """``WS …/exec/ws``: a program, its input and its output; ``cluster.codi.programs.frames``."""

    path = PROGRAM_PATH
    action = "exec"

    def prepare(self, ingress: Ingress, socket: BrowserSocket) -> None:
        """Take any request: what to start says the first frame."""

    async def run(self, ingress: Ingress, socket: BrowserSocket, session_id: str) -> None:
        """Relay to the program's end, or until the caller goes."""
        await relay_program(ingress, socket, session_id)


async def _until_gone(socket: BrowserSocket) -> None:
    """Read and drop what a browser says here, until it goes."""
    while await socket.receive() is not None:
        continue
