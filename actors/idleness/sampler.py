"""Samples the containers of one node, says why each session is awake, and lets the quiet ones sleep.

Carries ``rules``' decisions out. It keeps nothing that matters: whoever takes over begins to
watch anew, which lets sessions sleep later and never earlier. A session is hibernated by its owner, and
one at rest gets an owner for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from actors.core.errors.base import CoditectError
from actors.core.informer import Informer
from actors.core.ports.services import Services
from actors.core.records.containers import ContainerRecord, ContainerStatus
from actors.core.records.idleness import Idleness, Quiet
from actors.core.records.sessions import Route, SessionPhase, SessionRecord
from actors.core.timing import within
from actors.idleness.rules import Sample, Watch, begun, is_due, news, observe, quiet

logger = logging.getLogger(__name__)

LOOKS_AT_ONCE = 16
DUTY = 0.05


class SessionOwners(Protocol):
    """Session actors as idleness uses them. Every method ends within its limit.

    Raises ActorGone, NotBound, Unavailable, DeadlineExceeded.
    """

    async def sleep_if_quiet(
        self, actor_id: str, session_id: str, container_id: str, quiet: Quiet
    ) -> bool:
        """Have it hibernate, unless something has happened; false then."""
        ...

    async def open(self, session: SessionRecord) -> str:
        """Give a session at rest an owner and return its id. Raises NotFound, Busy, too."""
        ...


class IdlenessSampler:
    """The idleness of one node's sessions, by the informer on its containers. Belongs to one event loop.

    ``attached`` returns how many sockets a session has, at least 1 while that is not known.
    """

    def __init__(
        self,
        services: Services,
        owners: SessionOwners,
        containers: Informer[ContainerRecord],
        attached: Callable[[str], int],
    ) -> None:
        self._services = services
        self._attached = attached
        self._containers = containers
        self._owners = owners
        self._rules = services.settings.idle
        self._watches: dict[str, Watch] = {}
        self._gate = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._round_seconds = 0.0
        self._samples = self._slept = self._called_off = self._failures = 0

    async def run(self) -> None:
        """Sample and act until cancelled; nothing is sampled when sessions never sleep."""
        clock = self._services.clock
        while self._rules.hibernate_after > 0:
            try:
                await self.round()
            except (CoditectError, OSError) as error:
                self._failures += 1
                logger.warning("idleness has to wait: %s", error)
            await clock.sleep(max(self._rules.pause, self._round_seconds / DUTY))

    async def round(self) -> None:
        """Look at every container of the node that serves a session."""
        services = self._services
        began = services.clock.monotonic()
        records = (await self._containers.refresh()).values()
        serving = [r for r in records if r.status is ContainerStatus.READY and r.session_id]
        known = {record.container_id for record in serving}
        for container_id in self._watches.keys() - known:
            del self._watches[container_id]
        await asyncio.gather(*map(self._look, serving))
        self._round_seconds = services.clock.monotonic() - began

    def stats(self) -> dict[str, Any]:
        """Return counters and gauges; see ``actors.core.statistics``."""
        return {
            "idle_samples_total": self._samples,
            "idle_sessions_watched": len(self._watches),
            "idle_sessions_quiet": sum(not watch.awake for watch in self._watches.values()),
            "idle_hibernations_total": self._slept,
            "idle_hibernations_called_off_total": self._called_off,
            "idle_failures_total": self._failures,
        }

    async def _look(self, record: ContainerRecord) -> None:
        async with self._gate:
            try:
                session = await self._services.ledger.session(str(record.session_id))
                if session is None or not _serves(record, session):
                    self._watches.pop(record.container_id, None)
                    return
                await self._weigh(record, session)
            except (CoditectError, OSError) as error:
                self._failures += 1
                logger.info("idleness of %s is not known: %s", record.session_id, error)

    async def _weigh(self, record: ContainerRecord, session: SessionRecord) -> None:
        sample = await self._sample(record, session)
        before = self._watches.get(record.container_id)
        watch = (
            begun(record.container_id, sample)
            if before is None
            else observe(before, sample, self._rules)
        )
        self._watches[record.container_id] = watch
        self._samples += 1
        ledger = self._services.ledger
        known = await ledger.idleness(session.session_id) or Idleness(session_id=session.session_id)
        changed = news(watch, self._rules, known)
        if changed is not None:
            written = await ledger.record_idleness(changed)
            if written is not None:
                self._services.events.publish(session.session_id, "idle", written.event)
        if is_due(watch, self._rules, known.keep_awake_until):
            await self._put_to_sleep(record, session, quiet(watch, self._rules))

    async def _sample(self, record: ContainerRecord, session: SessionRecord) -> Sample:
        services = self._services
        assert record.handle is not None
        route = Route.to(record.handle, session.session_id, session.epoch)
        asking = services.codi.activity(route)
        activity = await within(
            services.settings.probe_timeout, "activity of the container", asking
        )
        clock = services.clock
        clients = self._attached(session.session_id)
        return Sample(clock.now(), clock.monotonic(), activity, clients)

    async def _put_to_sleep(
        self, record: ContainerRecord, session: SessionRecord, condition: Quiet
    ) -> None:
        owner = session.owner_actor_id
        if owner is None:
            owner = await self._owners.open(session)
        slept = await self._owners.sleep_if_quiet(
            owner, session.session_id, record.container_id, condition
        )
        self._slept += slept
        self._called_off += not slept
        logger.info("session %s: %s", session.session_id, "sleeps" if slept else "stays awake")


def _serves(record: ContainerRecord, session: SessionRecord) -> bool:
    return (
        record.handle is not None
        and session.container_id == record.container_id
        and session.phase is SessionPhase.READY
    )
