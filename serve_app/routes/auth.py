"""Signing in, staying signed in, signing out."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from actors.errors import Unauthenticated
from serve_app.access import TICKET_SECONDS
from serve_app.identity import ACCESS_COOKIE, REFRESH_COOKIE, REFRESH_PATH, bearer
from serve_app.ingress import Ingress
from serve_app.login import Pair
from serve_app.routes.common import (
    SIGNED,
    CallerDep,
    IngressDep,
    KeyDep,
    VisitorDep,
    base_url,
    get_caller,
    may_fail,
)
from serve_app.schemas import (
    Credentials,
    LoggedIn,
    PasswordChange,
    Presented,
    Providers,
    Ticket,
    Tokens,
    User,
    workspace_url,
)

router = APIRouter(prefix="/api/v1/auth", tags=["auth"])


@router.post("/login", responses=may_fail(400, 401, 413, 422))
async def login(
    request: Request,
    response: Response,
    body: Credentials,
    ingress: IngressDep,
    visitor: VisitorDep,
    key: KeyDep,
) -> LoggedIn:
    """Sign in and open the user's session: attach to it, resume it, or claim one from the pools."""
    _require_own_page(request, ingress)
    pair, session = await ingress.sign_in.login(body.email, body.password, key, visitor)
    _set_cookies(response, ingress, pair)
    return LoggedIn(
        session_id=session.session_id,
        workspace_url=workspace_url(base_url(request), session.session_id),
        container_status=session.container_status.value,
        **_tokens(pair),
    )


@router.get("/providers", responses=may_fail())
async def providers() -> Providers:
    """List the ways to sign in other than by password."""
    return Providers(providers=[])


@router.post("/refresh", responses=may_fail(400, 401, 403, 422))
async def refresh(
    request: Request,
    response: Response,
    ingress: IngressDep,
    body: Annotated[Presented | None, Body()] = None,
) -> Tokens:
    """Trade a refresh token, from the body or the cookie, for a new pair."""
    presented = body.refresh_token if body else None
    if presented is None:
        presented = request.cookies.get(REFRESH_COOKIE)
        if presented is None:
            raise Unauthenticated("no refresh token was sent")
        ingress.identity.require_own_origin(request.headers)
    pair = await ingress.sign_in.refresh(presented)
    _set_cookies(response, ingress, pair)
    return Tokens(**_tokens(pair))


@router.post("/logout", status_code=204, responses=may_fail(400, 403, 422), dependencies=SIGNED)
async def logout(
    request: Request,
    response: Response,
    ingress: IngressDep,
    visitor: VisitorDep,
    body: Annotated[Presented | None, Body()] = None,
) -> None:
    """End this login: its tokens are worth nothing any more, its sockets are closed.

    The session goes on. Answers 204 also to those who are not signed in (any more).
    """
    presented = body.refresh_token if body else None
    if presented is None and REFRESH_COOKIE in request.cookies:
        ingress.identity.require_own_origin(request.headers)
        presented = request.cookies[REFRESH_COOKIE]
    current = None
    if bearer(request.headers) is not None or request.cookies.get(ACCESS_COOKIE):
        with suppress(Unauthenticated):
            current = (await get_caller(request)).login
    await ingress.sign_in.logout(presented, current, visitor)
    response.delete_cookie(ACCESS_COOKIE, path="/")
    response.delete_cookie(REFRESH_COOKIE, path=REFRESH_PATH)


@router.get("/me", responses=may_fail(401), dependencies=SIGNED)
async def me(caller: CallerDep, ingress: IngressDep) -> User:
    """Return who is signed in, what they have, and what they may have."""
    deps = ingress.deps
    usage = await deps.ledger.usage(caller.user_id, deps.settings.quotas)
    return User.of(caller.user, usage=usage)


@router.post(
    "/password", status_code=204, responses=may_fail(400, 401, 403, 413, 422), dependencies=SIGNED
)
async def change_password(
    caller: CallerDep, ingress: IngressDep, visitor: VisitorDep, body: PasswordChange
) -> None:
    """Change one's own password. All other logins of the account end, the one that asks goes on.

    403 with the code `wrong_password` when the current one is not right.
    """
    await ingress.sign_in.change_password(caller, body.current_password, body.new_password, visitor)
    ingress.identity.forget(caller.user_id)


@router.post("/ticket", status_code=201, responses=may_fail(401, 403), dependencies=SIGNED)
async def ticket(caller: CallerDep, ingress: IngressDep) -> Ticket:
    """Return a ticket that opens one socket within 30 s: ``?ticket=…``."""
    now = ingress.deps.clock.now()
    signed = ingress.signer.ticket(caller.login, caller.user.role, now=now)
    return Ticket(ticket=signed, expires_in=TICKET_SECONDS)


def _tokens(pair: Pair) -> dict[str, Any]:
    return {
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
        "expires_in": pair.expires_in,
    }


def _require_own_page(request: Request, ingress: Ingress) -> None:
    """Let no foreign page sign its visitor in to an account of its own."""
    if "origin" in request.headers:
        ingress.identity.require_own_origin(request.headers)


def _set_cookies(response: Response, ingress: Ingress, pair: Pair) -> None:
    settings = ingress.deps.settings
    response.headers["cache-control"] = "no-store"
    response.set_cookie(
        ACCESS_COOKIE,
        pair.access_token,
        max_age=int(pair.expires_in),
        path="/",
        httponly=True,
        secure=settings.cookie_secure,
        samesite="lax",
    )
    response.set_cookie(
        REFRESH_COOKIE,
        pair.refresh_token,
        max_age=int(settings.refresh_token_ttl),
        path=REFRESH_PATH,
        httponly=True,
        secure=settings.cookie_secure,
        samesite="strict",
    )
