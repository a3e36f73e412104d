"""Keeps this replica's sockets attached to their sessions.

A socket holds a lease at the session's actor, renewed from here well before it runs out; a replica
that dies renews nothing, and the session may go passive.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from actors.core.calls import SessionCalls
from actors.core.errors.base import CoditectError
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import SessionEnded
from actors.core.ports.clock import Clock
from actors.core.records.sessions import Route
from serve_app.sessions.gateway import SessionGateway

logger = structlog.get_logger(__name__)

ROUND_SECONDS = 1.0
DETACH_SECONDS = 2.0
AT_ONCE = 64


@dataclass(slots=True)
class _Lease:
    renewed: float


class Attachments:
    """The leases of one replica. ``run`` is a task of its owner."""

    def __init__(self, gateway: SessionGateway, clock: Clock, *, ttl: float) -> None:
        self._gateway = gateway
        self._clock = clock
        self._renew_after = ttl / 3
        self._leases: dict[tuple[str, str], _Lease] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)

    def __len__(self) -> int:
        return len(self._leases)

    async def attach(
        self, session_id: str, client_id: str, terminal: str | None = None
    ) -> Route | None:
        """Attach a socket; this brings up a session that rests. Raises what the session's actor does.

        ``terminal`` names the one that it is on, if it is on one. Return where the session's container is;
        None while it has none that is ready.
        """
        route = await self._gateway.attach(session_id, client_id, terminal)
        self._leases[session_id, client_id] = _Lease(self._clock.monotonic())
        return route

    async def detach(self, session_id: str, client_id: str) -> None:
        """Give a lease back; if that cannot be said it runs out by itself."""
        lease = self._leases.pop((session_id, client_id), None)
        if lease is None:
            return
        try:
            await self._gateway.call_if_awake(
                session_id, SessionCalls.detach, DETACH_SECONDS, client_id
            )
        except CoditectError as error:
            logger.info("a lease will run out", session_id=session_id, reason=str(error))

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            await self._clock.sleep(ROUND_SECONDS)
            await self.round()

    async def round(self) -> None:
        """Renew the leases that are due."""
        results = await asyncio.gather(
            *(self._tend(*key, lease) for key, lease in list(self._leases.items())),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, Exception):
                logger.error("a lease could not be tended", exc_info=result)

    async def _tend(self, session_id: str, client_id: str, lease: _Lease) -> None:
        async with self._gate:
            try:
                if self._clock.monotonic() - lease.renewed >= self._renew_after:
                    await self._gateway.attach(session_id, client_id)
                    lease.renewed = self._clock.monotonic()
            except (NotFound, SessionEnded):
                self._leases.pop((session_id, client_id), None)
            except CoditectError as error:
                logger.info("a lease is not renewed", session_id=session_id, reason=str(error))
