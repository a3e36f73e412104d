"""The calls that actors make to CODI: few and small."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from actors.core.errors.base import DeadlineExceeded, Unavailable
from actors.core.ports.codi import JournalConnection
from actors.core.records.containers import ContainerHandle
from actors.core.records.environment import Environment
from actors.core.records.idleness import Activity, Quiet
from actors.core.records.sessions import Route
from cluster.codi.answers import COMPONENT, Asked, error_from, headers
from cluster.http_exchange import exchange

_LARGEST_ANSWER = 1 << 20


class CodiControl:
    """Implements ``actors.core.ports.codi.CodiClient``. One connection a call: calls are rare.

    ``timeout_seconds`` limits each call. Errors: Unavailable, DeadlineExceeded, Fenced, and for
    arguments that CODI refuses the ones of ``cluster.codi.answers``.
    """

    def __init__(self, timeout_seconds: float = 5.0) -> None:
        self._timeout_seconds = timeout_seconds

    async def raise_epoch(
        self, route: Route, email: str | None = None, environment: Environment | None = None
    ) -> None:
        """Make CODI refuse every request of an older epoch; name its user's address and environment to it."""
        body: dict[str, Any] = {} if email is None else {"email": email}
        if environment is not None:
            body["environment"] = _document(environment)
        await self._call(Asked(route), "PUT", "/epoch", body or None)

    async def put_environment(self, route: Route, environment: Environment) -> None:
        """Have programs that start from now on find this; an older version than CODI has changes nothing."""
        await self._call(Asked(route), "PUT", "/environment", _document(environment))

    async def open_terminal(
        self,
        route: Route,
        name: str,
        *,
        cols: int | None = None,
        rows: int | None = None,
        cwd: str | None = None,
    ) -> tuple[dict[str, Any], bool]:
        """Return a terminal, and true if it had to be started. Idempotent by name."""
        given = {"name": name, "cols": cols, "rows": rows, "cwd": cwd}
        body = {field: value for field, value in given.items() if value is not None}
        asked = Asked(route, "terminal", name)
        status, terminal = await self._call(asked, "POST", "/terminals", body)
        return terminal, status == HTTPStatus.CREATED

    async def connect_journal(self, handle: ContainerHandle) -> JournalConnection:
        """Connect to all terminals of a container; this connection replaces a former one."""
        # Only the journal's process needs a WebSocket library.
        from cluster.codi.journal_client import connect_journal  # noqa: PLC0415

        return await connect_journal(handle, timeout_seconds=self._timeout_seconds)

    async def activity(self, route: Route) -> Activity:
        """Return what goes on in the container."""
        _, answer = await self._call(Asked(route), "GET", "/activity")
        try:
            return Activity.model_validate(answer)
        except ValueError as error:
            raise Unavailable(COMPONENT, "its answer is no activity") from error

    async def seal(self, route: Route, quiet: Quiet, seconds: float) -> None:
        """Have it take nothing new for some seconds; PreconditionFailed when it is not quiet."""
        body = quiet.model_dump() | {"seconds": seconds}
        await self._call(Asked(route), "POST", "/seal", body)

    async def _call(
        self, asked: Asked, method: str, target: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Any]:
        """Return an answer's status and what its body says."""
        route = asked.route
        data = b"" if body is None else json.dumps(body).encode()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                status, content = await exchange(
                    route.address,
                    method,
                    target,
                    headers(route).items(),
                    data,
                    largest=_LARGEST_ANSWER,
                )
        except TimeoutError:
            raise DeadlineExceeded(f"{method} {target} of CODI", self._timeout_seconds) from None
        except (OSError, ValueError) as error:
            raise Unavailable(COMPONENT, str(error) or type(error).__name__) from error
        if status // 100 != 2:
            raise error_from(status, content, asked)
        try:
            return status, json.loads(content)
        except ValueError as error:
            raise Unavailable(COMPONENT, "its answer is not JSON") from error


def _document(environment: Environment) -> dict[str, Any]:
    return {
        "version": environment.version,
        "variables": dict(environment.variables),
        "shell": environment.shell,
        "dotfiles": environment.dotfiles,
    }
