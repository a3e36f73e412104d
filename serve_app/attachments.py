"""Keeps this replica's sockets attached to their sessions, and tells what its terminals have shown.

A socket holds a lease at the session's actor, renewed from here well before it runs out; a replica
that dies renews nothing, and the session may go passive. In the same rounds the actor is told how far
each terminal's output has come, so that a new shell, in a new container, numbers on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from actors.errors import CoditectError, NotFound, SessionEnded
from actors.ports import Clock
from actors.records import TerminalMark
from serve_app.sessions import SessionGateway

logger = structlog.get_logger(__name__)

ROUND_SECONDS = 1.0
DETACH_SECONDS = 2.0
AT_ONCE = 64

Marks = Callable[[], Mapping[str, TerminalMark]]


@dataclass(slots=True)
class _Lease:
    renewed: float
    marks: Marks | None
    told: Mapping[str, TerminalMark] = field(default_factory=dict)


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

    async def attach(self, session_id: str, client_id: str, marks: Marks | None = None) -> None:
        """Attach a socket; this brings up a session that rests. Raises what the session's actor does.

        ``marks`` tells how far the socket's terminals have come, whenever it is asked.
        """
        await self._gateway.call(session_id, "attach", client_id)
        self._leases[session_id, client_id] = _Lease(self._clock.monotonic(), marks)

    async def detach(self, session_id: str, client_id: str) -> None:
        """Give a lease back; if that cannot be said it runs out by itself."""
        lease = self._leases.pop((session_id, client_id), None)
        if lease is None:
            return
        try:
            await self._report(session_id, lease)
            await self._gateway.call(
                session_id, "detach", client_id, timeout_seconds=DETACH_SECONDS, wake=False
            )
        except CoditectError as error:
            logger.info("a lease will run out", session_id=session_id, reason=str(error))

    async def run(self) -> None:
        """Renew and report until cancelled."""
        while True:
            await self._clock.sleep(ROUND_SECONDS)
            await self.round()

    async def round(self) -> None:
        """Renew the leases that are due, and report what has changed."""
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
                await self._report(session_id, lease)
                if self._clock.monotonic() - lease.renewed >= self._renew_after:
                    await self._gateway.call(session_id, "attach", client_id)
                    lease.renewed = self._clock.monotonic()
            except (NotFound, SessionEnded):
                self._leases.pop((session_id, client_id), None)
            except CoditectError as error:
                logger.info("a lease is not renewed", session_id=session_id, reason=str(error))

    async def _report(self, session_id: str, lease: _Lease) -> None:
        marks = lease.marks() if lease.marks is not None else {}
        if marks == lease.told:
            return
        await self._gateway.call(session_id, "report_terminals", dict(marks), wake=False)
        lease.told = marks
