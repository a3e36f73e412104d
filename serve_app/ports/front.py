"""Takes the requests for ports out of those of a replica: whose host is a port's, or whose path is.

Everything here happens before the platform's own routes, and none of those sees a request to a port's host.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, quote

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.core.errors.access import Unauthenticated
from actors.core.errors.base import CoditectError, DeadlineExceeded, Unavailable
from actors.core.errors.sessions import Fenced
from actors.core.records.ports import Visibility
from actors.core.records.sessions import SessionPhase
from serve_app.ports import answers
from serve_app.ports.access import Entry
from serve_app.ports.answers import Notice
from serve_app.ports.headers import is_foreign, is_navigation
from serve_app.ports.hosts import NotOurs, PortHost, Translation
from serve_app.ports.passes import COOKIE_SECONDS, TICKET_SECONDS, Pass
from serve_app.ports.proxy import Way
from serve_app.ports.relay import relay
from serve_app.ports.tools import ENTER, PortTools, safe_target

MAX_UNDER_WAY = 256
"""Requests and sockets of one session in one replica."""

CHECK_SECONDS = 10.0
"""How often it is looked whether the visitor of a long request or a socket may still use the port."""

WAKE_SECONDS = 10.0
_SANDBOXED = re.compile(r"(/workspaces/([a-z0-9-]{1,64})/ports/([1-9][0-9]{0,4})/~([^/]+))(/.*)?")
_ASLEEP = frozenset({SessionPhase.HIBERNATING, SessionPhase.HIBERNATED})
_GONE = frozenset({SessionPhase.ENDING, SessionPhase.ENDED, SessionPhase.FAILED})
_LARGEST_COOKIE = 4096


@dataclass(frozen=True, slots=True)
class _Visit:
    """One request to a port. ``cookie``: the name of ours; ``prefix``: it is served sandboxed below it."""

    found: PortHost
    scheme: str
    target: bytes
    cookie: str
    visitor: Pass | None
    headers: dict[str, str]
    prefix: str | None = None


class PortFront:
    """An ASGI application before another."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way: Counter[str] = Counter()
        self._woken: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request or a socket."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        tools: PortTools = scope["app"].state.ingress.ports
        given = _headers(scope)
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        found = tools.hosts.find(given.get("host", "")) if len(hosts) == 1 else None
        as_page = is_navigation(scope.get("method", ""), given)
        try:
            match found:
                case PortHost():
                    # What programs and their visitors put into their addresses is nobody else's.
                    scope["state"] |= {"route": "{port}--{session}", "path": _named(found)}
                    await self._visit(tools, found, given, scope, receive, send)
                case NotOurs():
                    raise _misdirected()
                case None:
                    sandboxed = _SANDBOXED.fullmatch(scope["path"])
                    if sandboxed is None:
                        await self._app(scope, receive, send)
                        return
                    route = "/workspaces/{session_id}/ports/{port}/~"
                    scope["state"] |= {"route": route, "path": sandboxed[1].partition("~")[0]}
                    visit = _sandboxed_visit(tools, sandboxed, given, scope)
                    await self._serve(tools, visit, scope, receive, send)
        except Notice as notice:
            await answers.tell(notice, scope, receive, send, as_page=as_page)

    async def _visit(
        self,
        tools: PortTools,
        found: PortHost,
        given: dict[str, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Serve a request to a port's own host."""
        scheme = tools.hosts.scheme(scope.get("scheme", "http"))
        cookie = "__Host-coditect_port" if scheme == "https" else "coditect_port"
        now = tools.clock.now()
        token = _cookie(given.get("cookie", ""), cookie)
        if scope["path"] == ENTER and scope["type"] == "http":
            entering = await self._entering(tools, found, scope, now)
            await self._enter(tools, found, scheme, cookie, entering, scope, receive, send)
            return
        visitor = _visitor(tools, token, now) if token else None
        visit = _Visit(found, scheme, _target(scope), cookie, visitor, given)
        entry = await _entry(tools, found.session_id)
        if entry is None or not await tools.access.admits(entry, found.port, visitor):
            base = tools.passes.base_of(token) if token else ""
            await self._lead_in(tools, visit, base, scope, receive, send)
            return
        is_public = entry.shares.of(found.port).visibility is Visibility.PUBLIC
        method = scope.get("method", "GET")
        if not is_public and is_foreign(method, given, Translation(found, scheme)):
            raise Notice(HTTPStatus.FORBIDDEN, "Not from there", "Another workspace's page asks.")
        await self._serve(tools, visit, scope, receive, send, entry)

    async def _entering(self, tools: PortTools, found: PortHost, scope: Scope, now: float) -> Pass:
        """Return who enters an origin, by a ticket or a link. Raises Notice."""
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=8)
        ticket, link = query.get("ticket", [""])[0], query.get("link", [""])[0]
        over = Notice(HTTPStatus.FORBIDDEN, "This link is over", "Ask for another one.")
        try:
            if link:
                visitor = tools.passes.read_link(link, now)
            else:
                visitor = tools.passes.read_ticket(ticket, now)
                ends = visitor.made_at + TICKET_SECONDS
                if not await tools.tickets.spend(visitor.pass_id, expires_at=ends, now=now):
                    raise over
        except (Unauthenticated, ValueError):
            raise over from None
        if (visitor.session_id, visitor.port) != (found.session_id, found.port):
            raise over
        return visitor

    async def _enter(
        self,
        tools: PortTools,
        found: PortHost,
        scheme: str,
        cookie: str,
        visitor: Pass,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Give a visitor the origin's cookie, and lead them to the page."""
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=8)
        target = safe_target(query.get("to", ["/"])[0])
        made = tools.passes.cookie(visitor, now=tools.clock.now())
        secure = "; Secure" if scheme == "https" else ""
        seconds = int(COOKIE_SECONDS)
        value = f"{cookie}={made}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        own = Translation(found, scheme).origin()
        fields = [(b"set-cookie", value.encode())]
        await answers.redirect(scope, receive, send, own + target, fields)

    async def _lead_in(
        self,
        tools: PortTools,
        visit: _Visit,
        base: str,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Lead somebody without a pass to the platform, which may give them one. Raises Notice."""
        if scope["type"] == "websocket" or not is_navigation(scope["method"], visit.headers):
            text = "Open the page of this port first."
            raise Notice(HTTPStatus.UNAUTHORIZED, "Not signed in", text)
        found = visit.found
        platform = base or tools.hosts.platform(found, scope.get("scheme", "http"))
        place = f"/workspaces/{found.session_id}/ports/{found.port}"
        target = platform + place + visit.target.decode("latin-1")
        await answers.redirect(scope, receive, send, target, [])

    async def _serve(
        self,
        tools: PortTools,
        visit: _Visit,
        scope: Scope,
        receive: Receive,
        send: Send,
        entry: Entry | None = None,
    ) -> None:
        """Forward a request of a visitor who may use the port. Raises Notice."""
        session_id, port = visit.found.session_id, visit.found.port
        entry = entry or await _entry(tools, session_id)
        if entry is None or not await tools.access.admits(entry, port, visit.visitor):
            raise Notice(HTTPStatus.NOT_FOUND, "No such page", "It is not there, or not for you.")
        if self._under_way[session_id] >= MAX_UNDER_WAY:
            raise Notice(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many requests",
                "This workspace answers as many as it can.",
                retry=True,
            )
        self._under_way[session_id] += 1
        tools.gateway.note_use(session_id)
        try:
            await self._forward(tools, visit, entry, scope, receive, send)
        finally:
            self._under_way[session_id] -= 1
            if not self._under_way[session_id]:
                del self._under_way[session_id]

    async def _forward(
        self,
        tools: PortTools,
        visit: _Visit,
        entry: Entry,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        route = entry.route
        if route is None:
            await self._wake(tools, visit.found, entry)
            raise _not_up(tools, visit, entry)
        way = Way(
            route,
            Translation(visit.found, visit.scheme),
            frozenset({visit.cookie}),
            visit.target,
            visit.prefix,
        )
        try:
            if scope["type"] == "websocket":
                work = relay(way, scope, receive, send)
            else:
                work = tools.proxy.forward(way, scope, receive, send)
            await self._while_admitted(tools, visit, work)
        except (Unavailable, Fenced, DeadlineExceeded) as error:
            tools.access.forget(visit.found.session_id)
            tools.pools.drop(route)
            raise _starting() from error

    async def _while_admitted(self, tools: PortTools, visit: _Visit, work: Awaitable[None]) -> None:
        """Do something for a visitor, and break it off when they may use the port no more."""
        this = asyncio.current_task()
        checks: list[asyncio.Task[None]] = []

        async def check() -> None:
            while True:
                entry = await _entry(tools, visit.found.session_id)
                admitted = entry is not None and await tools.access.admits(
                    entry, visit.found.port, visit.visitor
                )
                if not admitted and this is not None:
                    this.cancel(_NO_MORE)
                    return
                await tools.clock.sleep(CHECK_SECONDS)

        loop = asyncio.get_running_loop()
        timer = loop.call_later(CHECK_SECONDS, lambda: checks.append(loop.create_task(check())))
        try:
            await work
        except asyncio.CancelledError as cancelled:
            if this is None or cancelled.args != (_NO_MORE,):
                raise
            this.uncancel()
            raise ClientDisconnect from None
        finally:
            timer.cancel()
            for task in checks:
                task.cancel()
            await asyncio.gather(*checks, return_exceptions=True)

    async def _wake(self, tools: PortTools, found: PortHost, entry: Entry) -> None:
        """Wake a sleeping session whose owner wants that; at most once in ``WAKE_SECONDS``."""
        if entry.record.phase not in _ASLEEP or not entry.shares.of(found.port).wake:
            return
        now = tools.clock.monotonic()
        self._woken = {key: at for key, at in self._woken.items() if now - at < WAKE_SECONDS}
        if found.session_id in self._woken:
            return
        self._woken[found.session_id] = now
        try:
            await tools.gateway.resume(found.session_id, tools.new_id("k"))
        except CoditectError as error:
            raise _starting() from error
        tools.access.forget(found.session_id)


_NO_MORE = "the visitor may use the port no more"


def _visitor(tools: PortTools, token: str, now: float) -> Pass | None:
    try:
        return tools.passes.read_cookie(token, now)
    except Unauthenticated:
        return None


async def _entry(tools: PortTools, session_id: str) -> Entry | None:
    try:
        return await tools.access.entry(session_id)
    except CoditectError as error:
        raise _starting() from error


def _sandboxed_visit(
    tools: PortTools, match: re.Match[str], given: dict[str, str], scope: Scope
) -> _Visit:
    """Return a visit below the platform's own address. Raises Notice."""
    if given.get("service-worker") is not None:
        raise Notice(HTTPStatus.FORBIDDEN, "No service workers", "A sandboxed page has none.")
    prefix, session_id, port, token = match[1], match[2], int(match[3]), match[4]
    try:
        visitor = tools.passes.read_cookie(token, tools.clock.now())
    except (Unauthenticated, ValueError):
        raise Notice(
            HTTPStatus.UNAUTHORIZED, "Not signed in", "Open this port from its workspace again."
        ) from None
    target = _target(scope)
    if not target.startswith(prefix.encode()):
        raise Notice(HTTPStatus.BAD_REQUEST, "No such page", "The address is oddly written.")
    target = target[len(prefix) :]
    if not target.startswith(b"/"):
        target = b"/" + target
    found = PortHost(port, session_id, given.get("host", ""))
    scheme = tools.hosts.scheme(scope.get("scheme", "http"))
    return _Visit(found, scheme, target, "", visitor, given, prefix)


def _not_up(tools: PortTools, visit: _Visit, entry: Entry) -> Notice:
    phase, share = entry.record.phase, entry.shares.of(visit.found.port)
    platform = visit.visitor.base if visit.visitor is not None and visit.visitor.base else ""
    link = (f"{platform}/workspaces/{visit.found.session_id}", "Open the workspace")
    if phase in _GONE:
        return Notice(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The workspace does not run",
            "It has failed, or it is ending.",
            link=link if platform else None,
        )
    if phase in _ASLEEP and not share.wake:
        return Notice(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The workspace sleeps",
            "Its programs run again when its owner opens it.",
            link=link if platform else None,
        )
    return _starting()


def _starting() -> Notice:
    return Notice(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The workspace is starting",
        "This page tries again by itself.",
        retry=True,
    )


def _named(found: PortHost) -> str:
    return f"{found.port}--{found.session_id}"


def _misdirected() -> Notice:
    return Notice(
        HTTPStatus.MISDIRECTED_REQUEST,
        "No such host",
        "This address stands for no port of a workspace.",
    )


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _target(scope: Scope) -> bytes:
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path


def _cookie(header: str, name: str) -> str:
    """Return a cookie's value; the first one counts, as browsers send the more specific ones first."""
    for pair in header.split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name and len(value) <= _LARGEST_COOKIE:
            return value
    return ""
