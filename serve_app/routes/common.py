"""Dependencies that routes share: caller, idempotency key, session; and the errors they may answer."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request
from fastapi.security import APIKeyCookie, HTTPBearer

from actors.core.errors.access import PermissionDenied
from actors.core.errors.requests import InvalidArgument, NotFound
from actors.core.records.sessions import SessionRecord
from cluster.settings import Settings
from serve_app.auth.identity import Caller
from serve_app.auth.sign_in import Visitor
from serve_app.http import problems
from serve_app.http.origins import CookieNames
from serve_app.ingress import Ingress
from serve_app.schemas.base import Problem
from serve_app.schemas.sessions import Session, life_of

_SESSION_ID = re.compile(r"[a-z0-9-]{1,64}")
_KEY = re.compile(r"[\x21-\x7e]{1,100}")

# For the OpenAPI document only: `identity.py` reads the request itself.
_bearer = HTTPBearer(auto_error=False, description="an access token")
_cookie = APIKeyCookie(
    name="coditect_access_8080", auto_error=False, description="set by login, named after the port"
)
SIGNED: list[Any] = [Depends(_bearer), Depends(_cookie)]


def ingress_of(request: Request) -> Ingress:
    """Return the parts of this replica."""
    ingress: Ingress = request.app.state.ingress
    return ingress


async def get_ingress(request: Request) -> Ingress:
    """Return the parts of this replica."""
    return ingress_of(request)


async def get_caller(request: Request) -> Caller:
    """Return who is asking. Raises Unauthenticated, PermissionDenied."""
    ingress, state = ingress_of(request), request.scope["state"]
    caller = await ingress.identity.of_request(
        request.method, request.url.scheme, request.headers, request.cookies
    )
    state |= {"user_id": caller.user_id, "caller": caller, "visitor": await get_visitor(request)}
    state["under_way"].belongs_to(caller.login, ingress.ended)
    return caller


async def get_admin(caller: Annotated[Caller, Depends(get_caller)]) -> Caller:
    """Return the administrator who is asking. Raises PermissionDenied."""
    if not caller.is_admin:
        raise PermissionDenied("administrators only")
    return caller


async def get_visitor(request: Request) -> Visitor:
    """Return where the request comes from, as HAProxy or a proxy in front of it says."""
    client = request.client
    return Visitor(
        client.host if client else "",
        request.headers.get("user-agent", ""),
        request.cookies.get(cookie_names(request).device, ""),
    )


def only_local(settings: Settings) -> bool:
    """Return whether only this machine can reach the server."""
    if settings.public_url is not None:
        return False
    if settings.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        return False


async def get_key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="the same key again gets the same answer, and nothing is done twice",
            json_schema_extra={"pattern": f"^{_KEY.pattern}$"},
        ),
    ] = None,
) -> str:
    """Return the caller's idempotency key, or a new one. Raises InvalidArgument."""
    if idempotency_key is None:
        return ingress_of(request).deps.new_id("k")
    if not _KEY.fullmatch(idempotency_key):
        raise InvalidArgument("Idempotency-Key", "1 to 100 visible ASCII characters")
    return idempotency_key


async def get_session_id(
    request: Request,
    session_id: Annotated[str, Path(examples=["s-3fq2h5vtklhb2k7n4zqa"])],
    caller: Annotated[Caller, Depends(get_caller)],
) -> str:
    """Return the session's id if the caller may enter it. Raises NotFound."""
    check_session_id(session_id)
    try:
        await ingress_of(request).enter(session_id, caller, await get_visitor(request))
    except NotFound:
        request.scope["state"]["refused"] = True  # it is somebody else's, or nobody's
        raise
    return session_id


def check_session_id(session_id: str) -> None:
    """Raise NotFound for what cannot be a session's id."""
    if not _SESSION_ID.fullmatch(session_id):
        raise NotFound("session", problems.printable(session_id)[:64])


def cookie_names(request: Request) -> CookieNames:
    """Return what the cookies of this request's origin are called."""
    return ingress_of(request).origins.cookies(request.url.scheme, request.headers.get("host", ""))


def base_url(request: Request) -> str:
    """Return the address under which the caller reaches this server."""
    public = ingress_of(request).deps.settings.public_url
    return public.rstrip("/") if public else str(request.base_url).rstrip("/")


async def described(
    request: Request, ingress: Ingress, records: Sequence[SessionRecord]
) -> list[Session]:
    """Return what the owners of sessions see of them."""
    url, activities = base_url(request), await ingress.deps.ledger.activity_of(records)
    pairs = zip(records, activities, strict=True)
    return [Session.of(record, activity, url) for record, activity in pairs]


async def listed(
    request: Request, ingress: Ingress, records: Sequence[SessionRecord]
) -> list[Session]:
    """Return the same, and what each session is doing."""
    sessions, sockets = await asyncio.gather(
        described(request, ingress, records), ingress.attachments.of_all(records)
    )
    return [
        session.model_copy(update={"life": life_of(record, sockets.get(record.session_id, 0))})
        for session, record in zip(sessions, records, strict=True)
    ]


def may_fail(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of the problem documents that a route may answer."""
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    every = (400, *statuses, 429, 500, 503)  # any address may hold a name that is none
    return {
        status: {"model": Problem, "description": problems.title(status), "content": content}
        for status in sorted({*every})
    }


IngressDep = Annotated[Ingress, Depends(get_ingress)]
CallerDep = Annotated[Caller, Depends(get_caller)]
AdminDep = Annotated[Caller, Depends(get_admin)]
VisitorDep = Annotated[Visitor, Depends(get_visitor)]
KeyDep = Annotated[str, Depends(get_key)]
SessionDep = Annotated[str, Depends(get_session_id)]
