"""The calls that actors make to CODI: few and small."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from actors.core.errors.base import DeadlineExceeded, Unavailable
from actors.core.ports.codi import JournalConnection
from actors.core.records.containers import ContainerHandle
from actors.core.records.idleness import Activity, Quiet
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

    async def health(self, handle: ContainerHandle) -> dict[str, Any]:
        """Return what ``GET /health`` answers."""
        asked = Asked("", 0, "container", handle.container_id)
        sent = {"x-codi-secret": handle.secret}
        answer: dict[str, Any] = await self._call(handle, "GET", "/health", sent, asked)
        return answer

    async def raise_epoch(
        self, handle: ContainerHandle, session_id: str, epoch: int, email: str | None = None
    ) -> None:
        """Make CODI refuse every request of an older epoch, and name the address that programs use."""
        asked = Asked(session_id, epoch, "container", handle.container_id)
        sent = headers(handle.secret, session_id, epoch)
        body = None if email is None else {"email": email}
        await self._call(handle, "PUT", "/epoch", sent, asked, body)

    async def create_terminal(
        self,
        handle: ContainerHandle,
        epoch: int,
        name: str,
        *,
        cwd: str | None,
        session_id: str,
    ) -> None:
        """Start a shell. Idempotent by name."""
        asked = Asked(session_id, epoch, "terminal", name)
        sent = headers(handle.secret, session_id, epoch)
        await self._call(handle, "POST", "/terminals", sent, asked, {"name": name, "cwd": cwd})

    async def connect_journal(self, handle: ContainerHandle) -> JournalConnection:
        """Connect to all terminals of a container; this connection replaces a former one."""
        # Only the journal's process needs a WebSocket library.
        from cluster.codi.journal_client import connect_journal  # noqa: PLC0415

        return await connect_journal(handle, timeout_seconds=self._timeout_seconds)

    async def activity(self, handle: ContainerHandle, session_id: str, epoch: int) -> Activity:
        """Return what goes on in the container."""
        asked = Asked(session_id, epoch, "container", handle.container_id)
        sent = headers(handle.secret, session_id, epoch)
        answer = await self._call(handle, "GET", "/activity", sent, asked)
        try:
            return Activity.model_validate(answer)
        except ValueError as error:
            raise Unavailable(COMPONENT, "its answer is no activity") from error

    async def seal(
        self, handle: ContainerHandle, session_id: str, epoch: int, quiet: Quiet, seconds: float
    ) -> None:
        """Have it take nothing new for some seconds; PreconditionFailed when it is not quiet."""
        asked = Asked(session_id, epoch, "container", handle.container_id)
        sent = headers(handle.secret, session_id, epoch)
        body = quiet.model_dump() | {"seconds": seconds}
        await self._call(handle, "POST", "/seal", sent, asked, body)

    async def _call(
        self,
        handle: ContainerHandle,
        method: str,
        target: str,
        sent: Mapping[str, str],
        asked: Asked,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                status, content = await exchange(
                    handle.address, method, target, sent.items(), data, largest=_LARGEST_ANSWER
                )
        except TimeoutError:
            raise DeadlineExceeded(f"{method} {target} of CODI", self._timeout_seconds) from None
        except (OSError, ValueError) as error:
            raise Unavailable(COMPONENT, str(error) or type(error).__name__) from error
        if status // 100 != 2:
            raise error_from(status, content, asked)
        try:
            return json.loads(content)
        except ValueError as error:
            raise Unavailable(COMPONENT, "its answer is not JSON") from error
