"""Looks what there is on Cloud Run: this node's containers by their label, and how much room is left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.records.containers import ContainerHandle
from cluster.cloud_run_options import Place
from cluster.runtime.cloud_run import names
from cluster.runtime.cloud_run.api import Api
from cluster.runtime.cloud_run.notes import Notes, RoomFile
from cluster.runtime.cloud_run.operations import Phase, Seen
from cluster.runtime.cloud_run.placement import Placement
from cluster.runtime.threads import in_thread

logger = logging.getLogger(__name__)

LIST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sight:
    """What was there when somebody last looked: all of this node, and those that no note explained."""

    at: float
    resources: frozenset[str]
    unexplained: Mapping[str, ContainerHandle]
    blind: frozenset[Place]

    def without(self, resource: str) -> Sight:
        """Return it as it is once a resource is gone."""
        left = {r: handle for r, handle in self.unexplained.items() if r != resource}
        return replace(self, resources=self.resources - {resource}, unexplained=left)


class Lookout:
    """Looks around, at most every few seconds whoever asks."""

    def __init__(
        self,
        api: Api,
        node_id: str,
        placement: Placement,
        notes: Notes,
        room: RoomFile,
        clock: Clock,
    ) -> None:
        self._api = api
        self._node_id = node_id
        self._placement = placement
        self._notes = notes
        self._room = room
        self._clock = clock
        self._sight: Sight | None = None
        self._looking = asyncio.Lock()

    def forget(self, resource: str) -> None:
        """Note that a resource is gone."""
        if self._sight is not None:
            self._sight = self._sight.without(resource)

    async def look(self) -> Sight:
        """Return what there is on Cloud Run, at most some seconds old. Counts what each place holds."""
        async with self._looking:
            now = self._clock.now()
            if self._sight is not None and now - self._sight.at < LIST_SECONDS:
                return self._sight
            noted = {note.resource for note in await in_thread(lambda: list(self._notes.all()))}
            places = self._placement.places
            listings = await asyncio.gather(*map(self._listed, places))
            ours: dict[str, Seen] = {}
            used: dict[str, int] = {}
            for place, found in zip(places, listings, strict=True):
                if found is None:
                    continue
                self._placement.counted(place, len(found))
                used[str(place)] = len(found)
                ours.update({seen.resource: seen for seen in found if self._is_of_this_node(seen)})
            await in_thread(self._room.write, used)
            unexplained = {
                resource: handle
                for resource, seen in ours.items()
                if resource not in noted and (handle := self._stranger(seen)) is not None
            }
            blind = frozenset(p for p, found in zip(places, listings, strict=True) if found is None)
            self._sight = Sight(now, frozenset(ours), unexplained, blind)
            return self._sight

    async def _listed(self, place: Place) -> Sequence[Seen] | None:
        """Return what a place holds; None when it does not say."""
        try:
            found = await self._api.list(place)
        except CoditectError as error:
            logger.warning("%s is not looked at: %s", place, error)
            return None
        return [seen for seen in found if seen.phase is not Phase.DELETING]

    def _is_of_this_node(self, seen: Seen) -> bool:
        node = names.label(self._node_id)
        return (
            seen.labels.get(names.MANAGED_BY) == names.OWNER and seen.labels.get(names.NODE) == node
        )

    def _stranger(self, seen: Seen) -> ContainerHandle | None:
        """Return a handle by which something that no note explains can be stopped."""
        prefix = names.ANNOTATIONS
        found = [
            seen.annotations.get(f"{prefix}/{each}")
            for each in ("container", "tenant", "workspace")
        ]
        if not all(found):
            logger.warning("%s has the labels of a container, and is none", seen.resource)
            return None
        return ContainerHandle(
            container_id=str(found[0]),
            tenant_id=str(found[1]),
            node_id=self._node_id,
            workspace_id=str(found[2]),
            runtime="cloud_run",
            address="",
            secret="",
            data={"resource": seen.resource},
        )
