"""One node's part in keeping workspaces: a follower for each container that a session has. No Ray here.

A container is followed as soon as its record says that it serves a session. A follower that fails
begins anew after a pause, on the route that the session has by then.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from actors.core.backoff import Backoff
from actors.core.errors.access import PermissionDenied
from actors.core.errors.base import CoditectError, Unavailable
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import Fenced
from actors.core.informer import Informer
from actors.core.ports.ledger import Ledger
from actors.core.records.archive import Kept, SaveAnswer
from actors.core.records.containers import ContainerRecord, ContainerStatus
from actors.core.records.sessions import Route, SessionRecord
from actors.core.tasks import Tasks
from cluster.archive.packs.collector import Collector
from cluster.archive.syncer import WorkspaceSyncer
from cluster.archive.tools import Counters, Tools
from cluster.store.layers.workspaces.manifests import Fence

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
WHOLE_PAUSE = 0.05
MAX_FOLLOWERS = 4096
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
SAVE_TRIES = 3


class _NoContainer(Unavailable):
    """The session has no container at this moment: it is being replaced, or the session rests."""

    def __init__(self, session_id: str) -> None:
        super().__init__("the container", f"session {session_id} has none at this moment")

    def __reduce__(self) -> tuple[type[Unavailable], tuple[str, str]]:
        """Travel as what every process knows."""
        return Unavailable, (self.component, self.reason)


@dataclass(slots=True)
class _Followed:
    syncer: WorkspaceSyncer
    task: asyncio.Task[Any] | None


class Archiver:
    """Follows the containers of a node. ``run`` until cancelled, then ``close``."""

    def __init__(self, tools: Tools, ledger: Ledger, node_id: str, collector: Collector) -> None:
        self._tools = tools
        self._ledger = ledger
        self._node_id = node_id
        self._containers = Informer(ledger.container_feed(node_id), tools.clock)
        self._collector = collector
        self._counters = Counters()
        self._followed: dict[str, _Followed] = {}
        self._tasks = Tasks(limit=2 * MAX_FOLLOWERS)
        self._failures = 0

    async def run(self) -> None:
        """Look for containers until cancelled."""
        self._tasks.spawn("collector", self._collector.run())
        while True:
            try:
                await self.look()
            except (CoditectError, OSError) as error:
                self._failures += 1
                logger.warning("archiving has to wait: %s", error)
            await self._containers.wait(LOOK_SECONDS)

    async def close(self) -> None:
        """End every follower and let go of the containers."""
        await self._tasks.close()
        await self._tools.client.close()

    async def look(self) -> None:
        """Begin to follow containers that got a session, and let go of those that are gone."""
        wanted = {
            container_id: record
            for container_id, record in (await self._containers.refresh()).items()
            if record.status is ContainerStatus.READY and record.session_id and record.handle
        }
        for container_id in self._followed.keys() - wanted.keys():
            followed = self._followed.pop(container_id)
            if followed.task is not None:
                followed.task.cancel()
        for container_id, record in wanted.items():
            known = self._followed.get(container_id)
            if known is not None and known.task is not None and not known.task.done():
                continue
            if len(self._tasks) < MAX_FOLLOWERS:
                self._follow(record)

    async def save(
        self,
        session_id: str,
        paths: list[str],
        answer: SaveAnswer | None = None,
        give_up: bool = False,
    ) -> Kept:
        """Take paths of a session's workspace in at once; see ``WorkspaceSyncer.save``.

        Raises NotFound for a session that has ended, Unavailable while it has no container, StoreFull,
        DeadlineExceeded.
        """
        raw = [path.encode("utf-8", "surrogateescape") for path in paths]
        for _ in range(SAVE_TRIES):
            syncer = await self._syncer_of(session_id)
            try:
                return await syncer.save(raw, answer, give_up=give_up)
            except (Fenced, PermissionDenied) as error:
                last = error
        raise Unavailable("the container", str(last))

    async def flush(self, session_id: str) -> None:
        """Return when all that was in a session's workspace at the call is kept.

        A session without a container has nothing to be kept. Raises as ``save`` does.
        """
        try:
            syncer = await self._syncer_of(session_id)
        except (NotFound, _NoContainer):
            return
        await syncer.flush()

    async def whole(self, session_id: str, timeout_seconds: float) -> None:
        """Return when all that is kept of a workspace is in its directory. Raises Unavailable."""
        clock = self._tools.clock
        deadline = clock.monotonic() + timeout_seconds
        while not any(
            each.syncer.whole and each.syncer.fence.session_id == session_id
            for each in self._followed.values()
        ):
            if clock.monotonic() >= deadline:
                raise Unavailable("the archive", f"session {session_id} is not whole yet")
            await clock.sleep(WHOLE_PAUSE)

    def restoring(self, session_id: str) -> int:
        """Return how many paths of a workspace are yet to be put back."""
        return sum(
            each.syncer.restoring
            for each in self._followed.values()
            if each.syncer.fence.session_id == session_id
        )

    def stats(self) -> dict[str, Any]:
        """Return counters, gauges and distributions; see ``actors.core.statistics``."""
        counted = self._counters
        return {
            "workspaces_followed": len(self._followed),
            "paths_to_restore": sum(f.syncer.restoring for f in self._followed.values()),
            "versions_total": counted.versions,
            "paths_kept_total": counted.files,
            "paths_gone_total": counted.gone,
            "paths_restored_total": counted.restored,
            "paths_unreadable_total": counted.unreadable,
            "read_bytes_total": counted.read_bytes,
            "new_bytes_total": counted.new_bytes,
            "saves_total": counted.saves,
            "save_seconds": counted.save_seconds.snapshot(),
            "round_seconds": counted.round_seconds.snapshot(),
            "failures_total": self._failures + self._tasks.failures,
            **self._containers.stats("containers"),
        } | self._collector.stats()

    def _follow(self, record: ContainerRecord) -> None:
        container_id = record.container_id
        followed = self._followed.get(container_id) or _Followed(self._make(record), None)
        followed.task = self._tasks.spawn(
            f"follow {container_id}", self._keep_following(record, followed.syncer)
        )
        self._followed[container_id] = followed

    async def _keep_following(self, record: ContainerRecord, syncer: WorkspaceSyncer) -> None:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        clock = self._tools.clock
        while True:
            began = clock.monotonic()
            try:
                session = await self._ledger.session(syncer.fence.session_id)
                # A launch writes the container's record before the session's.
                if session is not None and session.container_id == record.container_id:
                    syncer.route = _route(session, record)
                    await syncer.follow()
            except CoditectError as error:
                self._failures += not isinstance(error, Fenced)
                logger.info("workspace %s is followed anew: %s", record.workspace_id, error)
            if clock.monotonic() - began > LONGEST_PAUSE:
                backoff.reset()
            await clock.sleep(backoff.next())

    async def _syncer_of(self, session_id: str) -> WorkspaceSyncer:
        """Return the follower of the session's container, on the newest route."""
        session = await self._ledger.session(session_id)
        if session is None:
            raise NotFound("session", session_id)
        if session.container_id is None:
            raise _NoContainer(session_id)
        followed = self._followed.get(session.container_id)
        if followed is None:
            record = await self._ledger.container(session.container_id)
            if record is None or record.handle is None or record.node_id != self._node_id:
                raise _NoContainer(session_id)
            # A claim writes both in one transaction, a launch the container first.
            syncer = self._make(record.model_copy(update={"session_id": session_id}))
            followed = self._followed.setdefault(session.container_id, _Followed(syncer, None))
        syncer = followed.syncer
        syncer.route = syncer.route.model_copy(update={"epoch": session.epoch})
        return syncer

    def _make(self, record: ContainerRecord) -> WorkspaceSyncer:
        assert record.session_id is not None
        assert record.handle is not None
        fence = Fence(record.session_id, record.workspace_id, record.container_id)
        route = Route.to(record.handle, record.session_id, 0)
        # A record of a container that is launched for a session may have no user yet.
        user_id = record.user_id or record.session_id
        return WorkspaceSyncer(self._tools, fence, route, self._counters, user_id)


def _route(session: SessionRecord, record: ContainerRecord) -> Route:
    assert record.handle is not None
    return Route.to(record.handle, session.session_id, session.epoch)
