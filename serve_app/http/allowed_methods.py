"""Finds the methods that an address takes, as its routes say."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


def allowed(routes: Iterable[BaseRoute], scope: Scope) -> list[str]:
    """Return the methods that an address takes, none for one that does not exist."""
    found = {method for method in _METHODS if takes(routes, scope, method)}
    if not found:
        return []
    return sorted(found | {"OPTIONS"} | ({"HEAD"} if "GET" in found else set()))


def takes(routes: Iterable[BaseRoute], scope: Scope, method: str) -> bool:
    """Return whether one of the routes takes the request with that method."""
    asked = {**scope, "method": method}
    return any(route.matches(asked)[0] is Match.FULL for route in routes)
