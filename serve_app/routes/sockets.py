"""The WebSockets: terminals, events, and SSH. Plain ASGI, since every frame counts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import structlog
from fastapi import FastAPI
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from actors.core.errors.base import CoditectError
from actors.core.errors.requests import InvalidArgument
from actors.core.records.sessions import Route, SessionEvent
from cluster.codi.terminals.frames import (
    CLOSE_ENDED,
    CLOSE_SLOW,
    BadFrame,
    Request,
    check_name,
    encoded,
    parse_request,
)
from serve_app.auth.identity import SUBPROTOCOL, Caller
from serve_app.auth.sign_in import Visitor
from serve_app.http.browser_socket import BrowserSocket, Disconnected, FrameSocket
from serve_app.http.keep_alive import HOLDS_BACK
from serve_app.ingress import Ingress
from serve_app.ports.tcp import forward
from serve_app.programs.relay import relay_program
from serve_app.routes.common import check_session_id
from serve_app.routes.terminals import is_known, publish_terminals
from serve_app.sessions.event_hub import status_of
from serve_app.ssh.relay import relay_ssh
from serve_app.terminals.relay import TerminalRelay
from serve_app.terminals.relay_state import RelayState
from serve_app.terminals.session_socket import Channel, SessionSocket

logger = structlog.get_logger(__name__)

TERMINAL_PATH = "/api/v1/sessions/{session_id}/terminals/{name}/ws"
SESSION_PATH = "/api/v1/sessions/{session_id}/ws"
EVENTS_PATH = "/api/v1/sessions/{session_id}/events"
PROGRAM_PATH = "/api/v1/sessions/{session_id}/exec/ws"
SSH_PATH = "/api/v1/sessions/{session_id}/ssh"
PORT_PATH = "/api/v1/sessions/{session_id}/ports/{port}/tcp"
_TUNNELS = frozenset({PROGRAM_PATH, SSH_PATH, PORT_PATH})
"""Sockets of programs, which hold back what they do not want yet."""

MAX_NAME = 64
MAX_EVENTS_WAITING = 256


def install(app: FastAPI) -> None:
    """Add the sockets to the application."""
    app.router.routes.append(WebSocketRoute(TERMINAL_PATH, _Endpoint(app, _Terminal)))
    app.router.routes.append(WebSocketRoute(SESSION_PATH, _Endpoint(app, _Session)))
    app.router.routes.append(WebSocketRoute(EVENTS_PATH, _Endpoint(app, _Events)))
    app.router.routes.append(WebSocketRoute(PROGRAM_PATH, _Endpoint(app, _Program)))
    app.router.routes.append(WebSocketRoute(SSH_PATH, _Endpoint(app, _Ssh)))
    app.router.routes.append(WebSocketRoute(PORT_PATH, _Endpoint(app, _Port)))


class _Kind(Protocol):
    """A kind of socket: its route, and what it does."""

    path: str
    action: str

    def prepare(self, ingress: Ingress, socket: BrowserSocket) -> None:
        """Check what is asked for. Raises CoditectError."""

    async def run(
        self, ingress: Ingress, socket: BrowserSocket, session_id: str, caller: Caller
    ) -> None:
        """Serve it."""


class _Endpoint:
    """An ASGI application: Starlette would wrap a function in its own WebSocket object."""

    def __init__(self, app: FastAPI, kind: type[_Kind]) -> None:
        self._app = app
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket."""
        await _serve(self._app.state.ingress, self._kind(), BrowserSocket(scope, receive, send))


async def _serve(ingress: Ingress, kind: _Kind, socket: BrowserSocket) -> None:
    session_id = socket.parameters["session_id"]
    socket.state["route"] = kind.path
    socket.state[HOLDS_BACK] = kind.path in _TUNNELS
    try:
        kind.prepare(ingress, socket)
        check_session_id(session_id)
        caller = await ingress.identity.of_socket(
            socket.scheme, socket.headers, socket.query.get("ticket"), socket.subprotocols
        )
        socket.state["user_id"] = caller.user_id
        visitor = _visitor(socket)
        await ingress.enter(session_id, caller, visitor)
    except CoditectError as error:
        await socket.refuse(error)
        return
    ingress.sign_in.note_later(caller.user_id, kind.action, f"sessions/{session_id}", visitor, "ok")
    ingress.metrics.sockets += 1
    try:
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.subprotocols else None)
        # For as long as its login lasts.
        await _first_end(
            kind.run(ingress, socket, session_id, caller),
            ingress.ended.require_live(caller.login),
        )
    except Disconnected:
        return
    except CoditectError as error:
        await socket.fail(error)
    finally:
        ingress.metrics.sockets -= 1


def _visitor(socket: BrowserSocket) -> Visitor:
    return Visitor(socket.address, socket.headers.get("user-agent", ""))


class _Terminal:
    """``WS …/terminals/{name}/ws?client=&offset=&input_offset=&cols=&rows=``."""

    path = TERMINAL_PATH
    action = "terminal.attach"

    def prepare(self, ingress: Ingress, socket: BrowserSocket) -> None:
        """Check what is asked for. Raises InvalidArgument."""
        self._name = socket.parameters["name"]
        try:
            check_name(self._name)
            self._request = parse_request(socket.query)
        except BadFrame as error:
            field, _, reason = str(error).partition(": ")
            raise InvalidArgument(field, reason) from None
        _check_length(self._name)

    async def run(
        self, ingress: Ingress, socket: BrowserSocket, session_id: str, _caller: Caller
    ) -> None:
        """Relay until either side has had enough."""
        lease = ingress.deps.new_id("l")
        coming = ingress.attachments.attach(session_id, lease)
        try:
            await _relay_terminal(ingress, socket, session_id, self._name, self._request, coming)
        finally:
            ingress.attachments.detach(session_id, lease)


def _check_length(name: str) -> None:
    if len(name) > MAX_NAME:
        raise InvalidArgument("name", f"up to {MAX_NAME} characters")


async def _relay_terminal(
    ingress: Ingress,
    socket: FrameSocket,
    session_id: str,
    name: str,
    asked: Request,
    coming: Coroutine[Any, Any, Route | None],
) -> None:
    """Relay a terminal, and say to others that it is new; ``coming`` brings the session up."""
    request = replace(asked, client=asked.client or ingress.deps.new_id("w"), create=True)
    # Asked before its shell can start: the others hear of a terminal that is new.
    looking = asyncio.create_task(is_known(ingress, session_id, name), name="terminal")
    try:
        route = await coming
        known = await looking
    finally:
        looking.cancel()
    relay = TerminalRelay(ingress.relay_tools, socket, RelayState(request), session_id, name)
    if not known:
        await publish_terminals(ingress, session_id, name)
    await relay.run(route)


class _Session:
    """``WS …/ws``: the session's events, and its terminals; ``serve_app.terminals.session_socket``."""

    path = SESSION_PATH
    action = "session.attach"

    def prepare(self, ingress: Ingress, socket: BrowserSocket) -> None:
        """Take any request."""

    async def run(
        self, ingress: Ingress, socket: BrowserSocket, session_id: str, caller: Caller
    ) -> None:
        """Serve it until the browser goes or the session ends."""
        visitor, target = _visitor(socket), f"sessions/{session_id}"

        async def relay(channel: Channel, name: str, asked: Request) -> None:
            _check_length(name)
            ingress.sign_in.note_later(caller.user_id, _Terminal.action, target, visitor, "ok")
            coming = ingress.gateway.arrive(session_id)
            await _relay_terminal(ingress, channel, session_id, name, asked, coming)

        lease = ingress.deps.new_id("l")
        await ingress.attachments.attach(session_id, lease)
        try:
            with _following(ingress, session_id) as events:
                publishing = _publish(ingress, socket, session_id, events, prefix="\n")
                await _first_end(SessionSocket(socket, relay).run(), publishing)
        finally:
            ingress.attachments.detach(session_id, lease)


class _Ssh:
    """``WS …/ssh``: the bytes of an SSH client, to the node's gateway and back, as binary frames."""

    path = SSH_PATH
    action = "ssh.connect"

    def prepare(self, ingress: Ingress, socket: BrowserSocket) -> None:
        """Take any request."""

    async def run(
        self, ingress: Ingress, socket: BrowserSocket, session_id: str, caller: Caller
    ) -> None:
        """Carry bytes until either side ends it."""
        await relay_ssh(ingress.deps, socket, session_id, caller.login)


class _Port:
    """``WS …/ports/{port}/tcp``: a TCP connection to a port inside; ``serve_app.ports.tcp``."""

    path = PORT_PATH
    action = "port.forward"

    def prepare(self, ingress: Ingress, socket: BrowserSocket) -> None:
        """Check what is asked for. Raises InvalidArgument."""
        text = socket.parameters["port"]
        if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 1 << 16):
            raise InvalidArgument("port", "a number from 1 to 65535")
        self._port = int(text)

    async def run(
        self, ingress: Ingress, socket: BrowserSocket, session_id: str, caller: Caller
    ) -> None:
        """Carry bytes until both sides have ended."""
        await forward(ingress.gateway, socket, session_id, self._port)


class _Events:
    """``WS …/events``: the state at first, then every event as one JSON text frame."""

    path = EVENTS_PATH
    action = "session.follow"

    def prepare(self, ingress: Ingress, socket: BrowserSocket) -> None:
        """Take any request."""

    async def run(
        self, ingress: Ingress, socket: BrowserSocket, session_id: str, _caller: Caller
    ) -> None:
        """Send events until the browser goes or the session ends."""
        lease = ingress.deps.new_id("l")
        await ingress.attachments.attach(session_id, lease)
        try:
            with _following(ingress, session_id) as events:
                publishing = _publish(ingress, socket, session_id, events)
                await _first_end(publishing, _until_gone(socket))
        finally:
            ingress.attachments.detach(session_id, lease)


class _Waiting:
    """Events that were not sent yet: at most one more than may wait."""

    def __init__(self) -> None:
        self.events: deque[SessionEvent] = deque()
        self.changed = asyncio.Event()

    def put(self, event: SessionEvent) -> None:
        """Take an event."""
        if len(self.events) <= MAX_EVENTS_WAITING:
            self.events.append(event)
        self.changed.set()


@contextmanager
def _following(ingress: Ingress, session_id: str) -> Iterator[_Waiting]:
    """Yield what collects a session's events meanwhile."""
    waiting = _Waiting()
    listen = waiting.put
    ingress.hub.listen(session_id, listen)
    try:
        with ingress.port_watcher.following(session_id):
            yield waiting
    finally:
        ingress.hub.unlisten(session_id, listen)


async def _publish(
    ingress: Ingress, socket: BrowserSocket, session_id: str, waiting: _Waiting, prefix: str = ""
) -> None:
    """Send the session's state, then its events; close the socket when it ends, or too many wait."""

    async def send(event: SessionEvent) -> None:
        await socket.send(prefix + encoded(event.model_dump(mode="json")))

    await send(status_of(await ingress.gateway.view(session_id)))
    while True:
        await waiting.changed.wait()
        waiting.changed.clear()
        while waiting.events:
            if len(waiting.events) > MAX_EVENTS_WAITING:
                await socket.close(CLOSE_SLOW, "events were not read")
                return
            event = waiting.events.popleft()
            await send(event)
            if event.type == "ended":
                await socket.close(CLOSE_ENDED, "the session has ended")
                return


class _Program:
    """``WS …/exec/ws``: a program, its input and its output; ``cluster.codi.programs.frames``."""

    path = PROGRAM_PATH
    action = "exec"

    def prepare(self, ingress: Ingress, socket: BrowserSocket) -> None:
        """Take any request: what to start says the first frame."""

    async def run(
        self, ingress: Ingress, socket: BrowserSocket, session_id: str, _caller: Caller
    ) -> None:
        """Relay to the program's end, or until the caller goes."""
        await relay_program(ingress, socket, session_id)


async def _until_gone(socket: BrowserSocket) -> None:
    """Read and drop what a browser says here, until it goes."""
    while await socket.receive() is not None:
        continue


async def _first_end(*works: Coroutine[Any, Any, None]) -> None:
    """Do several things until one of them ends, and raise what that one raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
