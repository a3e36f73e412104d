"""The server's calls about programs by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from actors.core.records.sessions import Route
from cluster.codi.answers import Asked

MAX_WAIT_SECONDS = 600.0
_MARGIN_SECONDS = 15.0
_DELETION_SECONDS = 15.0


class BackgroundCalls:
    """A part of ``HttpCodiClient``, which sends the calls and has its errors."""

    async def _json(
        self, asked: Asked, method: str, target: str, body: Any = None, limit: float = 20.0
    ) -> Any:
        raise NotImplementedError

    async def start_background(
        self,
        route: Route,
        name: str,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        tty: tuple[int, int] | None = None,
        key: str | None = None,
    ) -> None:
        """Start a program under a name, unless this request has started it; returns when its journal has it.

        Raises AlreadyExists for another program of that name, and what cannot be run as ``exec`` does.
        """
        size = None if tty is None else {"cols": tty[0], "rows": tty[1]}
        body = {
            "name": name,
            "argv": list(argv),
            "cwd": cwd,
            "env": dict(env) if env else None,
            "tty": size,
            "key": key,
        }
        await self._json(Asked(route, "process", name), "POST", "/programs", body)

    async def background(self, route: Route, name: str) -> dict[str, Any]:
        """Return how a program is: ``{name, pid, running, exit_code, kept}``. Raises NotFound."""
        found: dict[str, Any] = await self._json(Asked(route, "process", name), "GET", _path(name))
        return found

    async def all_background(self, route: Route) -> list[dict[str, Any]]:
        """Return how all of them are."""
        found: list[dict[str, Any]] = await self._json(Asked(route), "GET", "/programs")
        return found

    async def wait_for_background(
        self, route: Route, name: str, seconds: float, *, offset: int | None = None
    ) -> dict[str, Any]:
        """Return how a program is at its end, or when output beyond ``offset`` is kept, or after the time."""
        target = f"{_path(name)}?seconds={seconds:g}"
        if offset is not None:
            target += f"&offset={offset}"
        asked, limit = Asked(route, "process", name), seconds + _MARGIN_SECONDS
        found: dict[str, Any] = await self._json(asked, "GET", target, limit=limit)
        return found

    async def signal_background(self, route: Route, name: str, signal: str) -> None:
        """Signal a program; nothing once it has ended. Raises NotFound, InvalidArgument."""
        asked = Asked(route, "process", name)
        await self._json(asked, "POST", _path(name), {"signal": signal})

    async def delete_background(self, route: Route, name: str) -> None:
        """Kill a program and forget it. Raises NotFound."""
        asked = Asked(route, "process", name)
        await self._json(asked, "DELETE", _path(name), limit=_DELETION_SECONDS)


def _path(name: str) -> str:
    return f"/programs/{quote(name, safe='')}"
