"""Conditions of requests, and what is kept of a path that the container does not have (yet)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from fastapi import Request

from actors.core.errors.requests import NotFound
from actors.core.records.sessions import Route
from cluster.archive.restoring.versions import Expected
from serve_app.ingress import Ingress

T = TypeVar("T")


def fields_of(request: Request, names: Sequence[str]) -> dict[str, str]:
    """Return header fields by name; several lines of one are a list (RFC 9110, 5.3)."""
    found = {name: request.headers.getlist(name) for name in names}
    return {name: ", ".join(lines) for name, lines in found.items() if lines}


async def found_or_missing(
    ingress: Ingress,
    session: str,
    path: str,
    work: Callable[[Route], Awaitable[T]],
    *,
    repeatable: bool = True,
) -> T:
    """Do something with a path in the container. Raises ContentMissing when it is not put back yet."""
    on_container = ingress.gateway.on_container
    try:
        return await on_container(session, work, repeatable=repeatable)
    except NotFound:
        expected = await expected_at(ingress, session, path)
        if expected is None:
            raise
        if not await is_whole(ingress, session, expected):
            raise expected.missing from None
    # It was deleted an instant ago, or put back since.
    return await on_container(session, work, repeatable=repeatable)


async def workspace_of(ingress: Ingress, session_id: str) -> str:
    """Return the workspace of a session. Raises NotFound."""
    record = await ingress.deps.ledger.session(session_id)
    if record is None:
        raise NotFound("session", session_id)
    return record.workspace_id


async def expected_at(ingress: Ingress, session: str, path: str) -> Expected | None:
    """Return what is known of a path that should be there; None: it should not, or is the root."""
    return await ingress.deps.library.expected(session, path) if path.strip("/") else None


async def is_whole(ingress: Ingress, session: str, expected: Expected) -> bool:
    """Return whether the container's directory has all that is kept."""
    found = await ingress.gateway.on_container(session, ingress.deps.codi.incarnation)
    return found == expected.incarnation
