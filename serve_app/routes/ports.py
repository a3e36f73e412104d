"""A session's ports: what listens, with whom it is shared, and the way in."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Path, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from actors.core.errors.access import Unauthenticated
from actors.core.records.ports import Listening, PortShare, PortShares
from serve_app.auth.identity import Caller
from serve_app.ingress import Ingress
from serve_app.ports.answers import Notice
from serve_app.ports.passes import Pass
from serve_app.ports.tools import enter_url, sandboxed_url
from serve_app.routes.common import (
    SIGNED,
    IngressDep,
    SessionDep,
    base_url,
    get_caller,
    get_visitor,
    may_fail,
)
from serve_app.schemas.ports import NewPortLink, Port, PortChange, PortLink, Ports, PortStopped

LOOK_SECONDS = 2.0
PortNumber = Annotated[int, Path(ge=1, le=65535)]

router = APIRouter(dependencies=SIGNED)
_SESSION = "/api/v1/sessions/{session_id}"
_WAY_IN = "/workspaces/{session_id}/ports/{port}"
_NOT_FOUND = Notice(404, "No such page", "It is not there, or not for you.")  # type: ignore[arg-type]


@router.get(f"{_SESSION}/ports", tags=["ports"], responses=may_fail(401, 404))
async def list_ports(request: Request, session: SessionDep, ingress: IngressDep) -> Ports:
    """List the ports that a program listens on, and those that are shared. Nothing is woken for it."""
    found, shares = await _found(ingress, session)
    numbers = sorted(found.keys() | shares.shares.keys())
    return Ports(ports=[_described(request, session, each, found, shares) for each in numbers])


@router.get(f"{_SESSION}/ports/{{port}}", tags=["ports"], responses=may_fail(401, 404, 422))
async def get_port(
    request: Request, session: SessionDep, ingress: IngressDep, port: PortNumber
) -> Port:
    """Return what is known of a port, whether or not anything listens on it."""
    found, shares = await _found(ingress, session)
    return _described(request, session, port, found, shares)


@router.patch(f"{_SESSION}/ports/{{port}}", tags=["ports"], responses=may_fail(401, 403, 404, 422))
async def change_port(
    request: Request, session: SessionDep, ingress: IngressDep, port: PortNumber, body: PortChange
) -> Port:
    """Change with whom a port is shared; in force a second later. It lasts as long as the session."""
    given = body.model_dump(exclude_none=True)

    def change(share: PortShare) -> PortShare:
        return share.model_copy(update=given)

    await ingress.deps.ledger.share_port(session, port, change)
    ingress.ports.access.forget(session)
    found, shares = await _found(ingress, session)
    return _described(request, session, port, found, shares)


@router.delete(f"{_SESSION}/ports/{{port}}", tags=["ports"], responses=may_fail(401, 403, 404, 422))
async def stop_port(session: SessionDep, ingress: IngressDep, port: PortNumber) -> PortStopped:
    """End the program that listens on a port: SIGTERM, and SIGKILL three seconds later."""
    codi = ingress.deps.codi
    stopped = await ingress.gateway.once_on_container(
        session, lambda route: codi.stop_port(route, port)
    )
    return PortStopped(stopped=stopped)


@router.post(
    f"{_SESSION}/ports/{{port}}/link", tags=["ports"], responses=may_fail(401, 403, 404, 422)
)
async def make_link(
    request: Request,
    session: SessionDep,
    ingress: IngressDep,
    port: PortNumber,
    body: NewPortLink | None = None,
) -> PortLink:
    """Make a link that lets in whoever has it, without an account, until it expires."""
    deps, tools = ingress.deps, ingress.ports
    seconds = (body or NewPortLink()).seconds
    _, shares = await deps.ledger.shared_ports(session)
    now, links = deps.clock.now(), shares.of(port).links
    link = tools.passes.link(session, port, links, now=now, seconds=seconds)
    base = base_url(request)
    if tools.hosts.has_origins(_host(base)):
        own = tools.hosts.url(base, session, port)
        url = f"{own}/.coditect/enter?{urlencode({'link': link})}"
    else:
        visitor = tools.passes.read_link(link, now)
        url = sandboxed_url(tools, base, visitor, "/")
    return PortLink(url=url, expires_at=now + seconds)


@router.delete(
    f"{_SESSION}/ports/{{port}}/link",
    tags=["ports"],
    status_code=204,
    responses=may_fail(401, 403, 404, 422),
)
async def end_links(session: SessionDep, ingress: IngressDep, port: PortNumber) -> None:
    """End all links to a port, and the visits of those who came by one."""

    def change(share: PortShare) -> PortShare:
        return share.model_copy(update={"links": share.links + 1})

    await ingress.deps.ledger.share_port(session, port, change)
    ingress.ports.access.forget(session)


@router.api_route(_WAY_IN, methods=["GET", "HEAD"], include_in_schema=False)
@router.api_route(f"{_WAY_IN}/{{path:path}}", methods=["GET", "HEAD"], include_in_schema=False)
async def enter_port(
    request: Request, ingress: IngressDep, session_id: str, port: str, path: str = ""
) -> Response:
    """Lead whoever may use a port to its origin, or to where it is served sandboxed."""
    del path  # as it is written is asked of the request
    query = f"?{request.url.query}" if request.url.query else ""
    try:
        caller = await get_caller(request)
    except Unauthenticated:
        here = quote(f"{request.url.path}{query}")
        return _leading(f"/?next={here}")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        return _refused()
    base = base_url(request)
    entry = await ingress.ports.access.entry(session_id)
    visitor = Pass(session_id, int(port), login=caller.login, base=base)
    if entry is None or not await _may_enter(request, ingress, entry.shares, caller, visitor):
        request.scope["state"]["refused"] = True
        return _refused()
    raw = (request.scope.get("raw_path") or request.url.path.encode()).decode("latin-1")
    target = "/" + "/".join(raw.split("/")[5:]) + query
    tools = ingress.ports
    if tools.hosts.has_origins(_host(base)):
        return _leading(enter_url(tools, base, visitor, target))
    return _leading(sandboxed_url(tools, base, visitor, target))


async def _may_enter(
    request: Request, ingress: Ingress, shares: PortShares, caller: Caller, visitor: Pass
) -> bool:
    """Return whether somebody who is signed in may use a port; an administrator's visit is noted."""
    owner = await ingress.gateway.user_of(visitor.session_id)
    share = shares.of(visitor.port)
    if not ingress.ports.access.admits_caller(owner, share, caller):
        return False
    if caller.is_admin:
        await ingress.enter(visitor.session_id, caller, await get_visitor(request))
    return True


async def _found(ingress: Ingress, session_id: str) -> tuple[dict[int, Listening], PortShares]:
    """Return what listens, as far as the session's container says so in time, and what is shared."""
    record, shares = await ingress.deps.ledger.shared_ports(session_id)
    found = await ingress.gateway.look_into(record, ingress.deps.codi.ports, LOOK_SECONDS)
    return {each.port: each for each in found or ()}, shares


def _described(
    request: Request, session_id: str, port: int, found: dict[int, Listening], shares: PortShares
) -> Port:
    base = base_url(request)
    tools = request.app.state.ingress.ports
    url = f"{tools.hosts.url(base, session_id, port)}/"
    open_url = f"{base}/workspaces/{session_id}/ports/{port}/"
    return Port.of(port, found.get(port), shares.of(port), url=url, open_url=open_url)


def _host(base: str) -> str:
    return base.partition("://")[2]


def _leading(target: str) -> Response:
    headers = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
    return RedirectResponse(target, status_code=303, headers=headers)


def _refused() -> Response:
    return HTMLResponse(_NOT_FOUND.page(), 404, headers={"cache-control": "no-store"})
