"""Signing in, staying signed in, signing out."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Body, Request, Response

from actors.core.errors.access import Unauthenticated
from serve_app.auth.identity import bearer
from serve_app.auth.sign_in import Pair
from serve_app.auth.tokens import DEVICE_SECONDS, TICKET_SECONDS
from serve_app.http.origins import LEGACY, CookieNames
from serve_app.ingress import Ingress
from serve_app.routes.common import (
    SIGNED,
    CallerDep,
    IngressDep,
    KeyDep,
    VisitorDep,
    base_url,
    cookie_names,
    get_caller,
    ingress_of,
    may_fail,
)
from serve_app.schemas.auth import (
    Credentials,
    LoggedIn,
    PasswordChange,
    Presented,
    Providers,
    Ticket,
    Tokens,
)
from serve_app.schemas.base import workspace_url
from serve_app.schemas.users import User

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
    if "origin" in request.headers:
        # No foreign page signs its visitor in to an account of its own.
        _require_own_page(request, ingress)
    pair, session = await ingress.sign_in.login(body.email, body.password, key, visitor)
    _set_cookies(request, response, pair)
    return LoggedIn(
        session_id=session.session_id,
        workspace_url=workspace_url(base_url(request), session.session_id),
        container_status=session.container_status.value,
        ticket=pair.ticket,
        **_tokens(pair),
    )


@router.get("/providers", responses=may_fail())
async def providers(request: Request) -> Providers:
    """List the ways to sign in other than by password, and say whether a browser brought cookies.

    ``signed_in`` says whether asking for more is worth a try: a page's cookies may be no good any more.
    """
    names = cookie_names(request)
    brought = not request.cookies.keys().isdisjoint({names.access, names.refresh})
    return Providers(providers=[], signed_in=brought)


@router.post("/refresh", responses=may_fail(400, 401, 403, 422))
async def refresh(
    request: Request,
    response: Response,
    ingress: IngressDep,
    visitor: VisitorDep,
    body: Annotated[Presented | None, Body()] = None,
) -> Tokens:
    """Trade a refresh token, from the body or the cookie, for a new pair."""
    presented = body.refresh_token if body else None
    if presented is None:
        presented = request.cookies.get(cookie_names(request).refresh)
        if presented is None:
            raise Unauthenticated("no refresh token was sent")
        _require_own_page(request, ingress)
    pair = await ingress.sign_in.refresh(presented, visitor)
    _set_cookies(request, response, pair)
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
    names = cookie_names(request)
    if presented is None and names.refresh in request.cookies:
        _require_own_page(request, ingress)
        presented = request.cookies[names.refresh]
    current = None
    if bearer(request.headers) is not None or request.cookies.get(names.access):
        with suppress(Unauthenticated):
            current = (await get_caller(request)).login
    await ingress.sign_in.logout(presented, current, visitor)
    _clear(request, response, names)
    _clear(request, response, LEGACY)


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
    ingress.identity.require_own_origin(request.url.scheme, request.headers)


def _set_cookies(request: Request, response: Response, pair: Pair) -> None:
    """Give a browser its tokens, and take those away that an earlier release gave it."""
    ingress, names = ingress_of(request), cookie_names(request)
    secure = ingress.origins.is_secure(request.url.scheme, request.headers.get("host", ""))
    kept = int(ingress.deps.settings.refresh_token_ttl)
    for name, token, path, same_site, age in (
        (names.access, pair.access_token, "/", "lax", int(pair.expires_in)),
        (names.refresh, pair.refresh_token, names.auth_path, "strict", kept),
        (names.device, pair.device, names.auth_path, "strict", int(DEVICE_SECONDS)),
    ):
        if not token:
            continue
        response.set_cookie(
            name,
            token,
            max_age=age,
            path=path,
            httponly=True,
            secure=secure,
            samesite=cast(Literal["lax", "strict"], same_site),
        )
    _clear(request, response, LEGACY)


def _clear(request: Request, response: Response, names: CookieNames) -> None:
    """Have a browser forget cookies that it sent."""
    for name, path in ((names.access, "/"), (names.refresh, names.auth_path)):
        if name in request.cookies:
            # A browser takes no answer about a `__Host-` cookie that is not secure.
            secure = name.startswith("__Host-")
            response.delete_cookie(name, path=path, secure=secure, httponly=True)
