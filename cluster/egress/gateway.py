"""The egress gateway of a node: the one way out of its containers.

Every container has a door (``doors.py``), so who asks is known before anything is said. What a session may
reach is looked up in a view of the store, names are decided by ``policy.py`` and addresses by
``addresses.py``, and a connection goes to exactly an address that was judged (``visit.py``). Sessions take
turns (``turns.py``) and are counted (``sessions.py``).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h11

from actors.core.errors.base import CoditectError
from actors.core.informer import Informer
from actors.core.ports.clock import Clock
from actors.core.records.containers import ContainerHandle, ContainerRecord, ContainerStatus
from actors.core.records.egress import NetworkRecord
from actors.core.tasks import Tasks
from cluster.egress import doorway
from cluster.egress.conversation import HEADER_SECONDS, Refusal
from cluster.egress.doors import Door
from cluster.egress.rates import Limits
from cluster.egress.sessions import Sessions
from cluster.egress.turns import Turns
from cluster.egress.visit import Network, Visit
from cluster.egress.wire import PIECE

logger = logging.getLogger(__name__)

MAX_DOORS = 4096
ANSWERED = 16
"""Connections of a session beyond its limit that are taken, so that they hear why."""

_LEAST_SHARE = 16
_LOOK_SECONDS = 1.0
_WITH_DOOR = frozenset({ContainerStatus.STARTING, ContainerStatus.WARM, ContainerStatus.READY})

UserOf = Callable[[ContainerHandle], int]


class Gateway:
    """Serves the containers of one node. Belongs to one event loop; ``run`` until cancelled, then ``close``.

    ``user_of`` says which user id, outside, a container's programs have. ``most`` connections from inside are
    served at once; when half of them are taken, no container has more than its share.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        containers: Informer[ContainerRecord],
        networks: Informer[NetworkRecord],
        sessions: Sessions,
        turns: Turns,
        network: Network,
        limits: Limits,
        user_of: UserOf,
        clock: Clock,
        most: int,
    ) -> None:
        self._data_dir = data_dir
        self._containers = containers
        self._networks = networks
        self._sessions = sessions
        self._turns = turns
        self._network = network
        self._limits = limits
        self._user_of = user_of
        self._clock = clock
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._doors: dict[str, Door] = {}
        self._records: dict[str, ContainerRecord] = {}
        self._taken: Counter[str] = Counter()
        self._visits: dict[str, set[asyncio.Task[None]]] = {}
        self._tasks = Tasks(limit=most)
        self._chosen = asyncio.Event()
        self._failures = self._turned_away = 0

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sessions.keep(), name="books")
            group.create_task(self._follow_networks(), name="choices")
            # Nobody gets what the default allows before it is known what they chose.
            await self._chosen.wait()
            group.create_task(self._follow_containers(), name="doors")

    async def close(self) -> None:
        """End every conversation, and write what was counted. New ones wait for the next gateway."""
        for door in self._doors.values():
            door.close(gone=False)
        await self._tasks.close()
        self._turns.close()
        self._network.resolver.close()
        await self._network.secrets.close()
        await self._sessions.close()

    def stats(self) -> dict[str, Any]:
        """Return counters and gauges."""
        return {
            "containers": len(self._doors),
            "containers_connected": sum(door.is_open for door in self._doors.values()),
            "conversations": self._taken.total(),
            "turned_away_total": self._turned_away,
            "failures_total": self._failures + self._tasks.failures,
            **self._sessions.stats(),
        }

    # ---- what there is --------------------------------------------------------------------------

    async def _follow_containers(self) -> None:
        while True:
            try:
                await self._see(await self._containers.refresh())
                await self._containers.wait(_LOOK_SECONDS)
            except CoditectError as error:
                await self._bear(error)

    async def _follow_networks(self) -> None:
        while True:
            try:
                self._sessions.see_choices(await self._networks.refresh())
                self._chosen.set()
                await self._networks.wait(_LOOK_SECONDS)
            except CoditectError as error:
                await self._bear(error)

    async def _bear(self, error: CoditectError) -> None:
        self._failures += 1
        logger.warning("the gateway works with what it knew: %s", error)
        await self._clock.sleep(_LOOK_SECONDS)

    async def _see(self, records: dict[str, ContainerRecord]) -> None:
        """Have a door for each container that runs, and none for others."""
        self._records = records
        for container_id in self._doors.keys() - records.keys():
            self._doors.pop(container_id).close(gone=True)
            for task in self._visits.pop(container_id, ()):
                task.cancel()
            await asyncio.to_thread(doorway.remove, self._data_dir, container_id)
        for container_id, record in records.items():
            missing = container_id not in self._doors and record.status in _WITH_DOOR
            if missing and len(self._doors) < MAX_DOORS:
                try:
                    door = await asyncio.to_thread(self._make_door, container_id)
                except OSError as error:
                    self._failures += 1
                    logger.warning("container %s has no way out: %s", container_id, error)
                else:
                    self._doors[container_id] = door

    def _make_door(self, container_id: str) -> Door:
        def arrived(inside: socket.socket) -> None:
            self._loop.call_soon_threadsafe(self._arrive, container_id, inside)

        return Door(
            doorway.make(self._data_dir, container_id),
            arrived=arrived,
            is_user=lambda user: self._is_user(container_id, user),
            most=self._limits.connections + ANSWERED,
        )

    def _is_user(self, container_id: str, user: int) -> bool:
        """Return whether a container's programs have this user id; called by its door's thread."""
        record = self._records.get(container_id)
        handle = record.handle if record is not None else None
        return handle is not None and self._user_of(handle) == user

    # ---- who comes ------------------------------------------------------------------------------

    def _arrive(self, container_id: str, inside: socket.socket) -> None:
        """Serve a connection, if its container has not more than its share."""
        crowded = self._taken.total() >= self._most // 2
        share = max(_LEAST_SHARE, self._most // (2 * max(1, len(self._taken))))
        task = None
        if not (crowded and self._taken[container_id] >= share):
            task = self._tasks.offer("egress visit", self._serve(container_id, inside))
        if task is None:
            self._turned_away += 1
            inside.close()
            self._release(container_id)
            return
        self._taken[container_id] += 1
        self._visits.setdefault(container_id, set()).add(task)
        task.add_done_callback(lambda task: self._left(container_id, inside, task))

    def _left(self, container_id: str, inside: socket.socket, task: asyncio.Task[None]) -> None:
        inside.close()
        visits = self._visits.get(container_id, set())
        visits.discard(task)
        if not visits:
            self._visits.pop(container_id, None)
        self._taken[container_id] -= 1
        if self._taken[container_id] <= 0:
            del self._taken[container_id]
        self._release(container_id)

    def _release(self, container_id: str) -> None:
        door = self._doors.get(container_id)
        if door is not None:
            door.release()

    async def _serve(self, container_id: str, inside: socket.socket) -> None:
        try:
            async with asyncio.timeout(HEADER_SECONDS):
                first = await self._loop.sock_recv(inside, PIECE)
            if not first:
                return
            record = await self._record_of(container_id)
            if record is None or record.session_id is None:
                return  # a container that nobody has
            session = await self._sessions.find(record.session_id, record.user_id)
            visit = Visit(inside, session, self._sessions, self._network, self._turns)
            await visit.serve(first)
        except (OSError, TimeoutError, Refusal, h11.ProtocolError):
            return  # either side has gone, or may not go on
        except CoditectError as error:
            self._failures += 1
            logger.warning("a request of container %s is not served: %s", container_id, error)

    async def _record_of(self, container_id: str) -> ContainerRecord | None:
        """Return a container's record; of one that was without a session, as it is at this moment."""
        record = self._records.get(container_id)
        if record is None or record.session_id is None:
            record = (await self._containers.refresh()).get(container_id)
        return record
