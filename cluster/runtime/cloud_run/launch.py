"""One launch after another: from a name to a CODI that answers. The caller limits the time and cleans up."""

from __future__ import annotations

import asyncio
import logging

from actors.core.backoff import Backoff
from actors.core.errors.base import CoditectError
from actors.core.errors.sessions import LaunchFailed
from actors.core.ports.clock import Clock
from actors.core.records.containers import ContainerHandle, ContainerSpec
from cluster.cloud_run_options import Place, Shape
from cluster.runtime.cloud_run import names, service_spec
from cluster.runtime.cloud_run.api import Api
from cluster.runtime.cloud_run.errors import CallFailed
from cluster.runtime.cloud_run.notes import Note, Notes, RoomFile
from cluster.runtime.cloud_run.operations import TRANSIENT, Outcome, Phase, Seen
from cluster.runtime.cloud_run.placement import Placement
from cluster.runtime.cloud_run.service_spec import Rules
from cluster.runtime.health import ask_health
from cluster.runtime.threads import in_thread

logger = logging.getLogger(__name__)

ABSENT_SECONDS = 10.0
ANSWER_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.5
_DOCUMENTS = {Shape.SERVICES: "service", Shape.INSTANCES: "instance"}


class Launcher:
    """Makes containers where there is room for them."""

    def __init__(
        self,
        api: Api,
        shape: Shape,
        rules: Rules,
        placement: Placement,
        notes: Notes,
        room: RoomFile,
        clock: Clock,
    ) -> None:
        self._api = api
        self._shape = shape
        self._rules = rules
        self._placement = placement
        self._notes = notes
        self._room = room
        self._used: dict[str, int] = {}
        self._clock = clock

    async def launch(self, spec: ContainerSpec) -> ContainerHandle:
        """Make a container; noted before it is asked for. Raises LaunchFailed, CallFailed, OSError."""
        note, operation = await self._create(spec)
        seen = await self._until_ready(note, operation)
        boot = await self._until_healthy(seen.uri, spec.secret)
        handle = handle_of(spec, self._rules.node_id, note.resource, f"{seen.uri}#{boot}")
        ready = {"handle": handle, "ready_at": self._clock.now()}
        await in_thread(self._notes.write, note.model_copy(update=ready))
        return handle

    async def _create(self, spec: ContainerSpec) -> tuple[Note, str | None]:
        """Have it made where there is room; return its note and the operation, if that is known."""
        await self._count()
        name = names.service_name(spec.container_id, spec.secret, spec.user_id)
        document = getattr(service_spec, _DOCUMENTS[self._shape])(spec, self._rules)
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        asked: Place | None = None  # where it may have been made though the call failed
        while True:
            now = self._clock.monotonic()
            place = asked or self._placement.choose(spec.container_id, now)
            if place is None:
                await self._until_open(spec, now)
                continue
            resource = f"{place.parent}/{self._shape.value}/{name}"
            note = Note(spec=spec, resource=resource, began_at=self._clock.now())
            await in_thread(self._notes.write, note)
            if asked is None:
                self._placement.began(place, now)
            else:
                self._placement.wrote(place, now)
            try:
                operation = await self._api.create(place, name, document)
            except CallFailed as failed:
                if failed.outcome is Outcome.EXHAUSTED:
                    logger.warning("%s takes no container now: %s", place, failed)
                    await self._refused(spec, place, backoff if asked else None)
                    continue
                if failed.outcome not in {Outcome.EXISTS, Outcome.UNKNOWN, Outcome.CONFLICT}:
                    raise
                asked = place
                if await self._is_ours(resource, spec):
                    return note, None  # it was made though the call failed
                await self._clock.sleep(
                    backoff.next()
                )  # still being removed, or not made: once more
            else:
                self._placement.accepted(place)
                return note, operation

    async def _count(self) -> None:
        """Take over how much room there is, where somebody has counted anew."""
        used = await in_thread(self._room.read)
        if used == self._used:
            return  # the same count again would undo what was noted since
        self._used = used
        for known in self._placement.places:
            if str(known) in used:
                self._placement.counted(known, used[str(known)])

    async def _refused(self, spec: ContainerSpec, place: Place, backoff: Backoff | None) -> None:
        """Forget a place that took nothing; wait with ``backoff`` where an earlier call may have made it."""
        now = self._clock.monotonic()
        self._placement.refused(place, now, counted=backoff is not None)
        if backoff is not None:  # elsewhere it might be made twice
            await self._clock.sleep(backoff.next())
        else:
            await in_thread(self._notes.remove, spec.container_id)

    async def _until_open(self, spec: ContainerSpec, now: float) -> None:
        pause = self._placement.wait(now)
        if pause is None:
            raise LaunchFailed(spec.container_id, "no place on Cloud Run has room for it")
        await self._clock.sleep(max(pause, FIRST_PAUSE))

    async def _is_ours(self, resource: str, spec: ContainerSpec) -> bool:
        """Return whether a resource is what this launch has asked for. Raises LaunchFailed for another."""
        seen = await self._look_at(resource)
        if seen is None or seen.phase is Phase.DELETING:
            return False
        if any(seen.annotations.get(k) != v for k, v in service_spec.marks(spec).items()):
            await in_thread(
                self._notes.remove, spec.container_id
            )  # or clean-up would delete theirs
            raise LaunchFailed(spec.container_id, f"{resource} is somebody else's")
        return True

    async def _look_at(self, resource: str) -> Seen | None:
        """Return how a resource is, asking again while Cloud Run does not say; the caller sets the limit."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                return await self._api.get(resource)
            except CallFailed as failed:
                if failed.outcome not in TRANSIENT:
                    raise
            await self._clock.sleep(backoff.next())

    async def _until_ready(self, note: Note, operation: str | None) -> Seen:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        absent_since: float | None = None
        container_id = note.spec.container_id
        while True:
            seen = await self._look_at(note.resource)
            if seen is None:
                now = self._clock.monotonic()
                absent_since = now if absent_since is None else absent_since
                if operation and (reason := await self._failure(operation)):
                    raise LaunchFailed(container_id, reason)
                if now - absent_since > ABSENT_SECONDS:
                    raise LaunchFailed(container_id, "Cloud Run does not know it")
            elif seen.phase is Phase.READY:
                return seen
            elif seen.phase is not Phase.PENDING:
                raise LaunchFailed(container_id, seen.reason or f"it is {seen.phase.value}")
            await self._clock.sleep(backoff.next())

    async def _failure(self, operation: str) -> str | None:
        try:
            return await self._api.failure(operation)
        except CallFailed:
            return None

    async def _until_healthy(self, uri: str, secret: str) -> str:
        """Return which start of CODI answers at a new address, whose front may not know it at first."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    health = await ask_health(uri, secret)
            except (OSError, CoditectError) as error:
                logger.info("%s does not answer yet: %s", uri, error)
                health = None
            if health is not None and health.get("boot"):
                return str(health["boot"])
            await self._clock.sleep(backoff.next())


def handle_of(spec: ContainerSpec, node_id: str, resource: str, address: str) -> ContainerHandle:
    """Return the handle of a container; ``address`` is empty before it is known."""
    return ContainerHandle(
        container_id=spec.container_id,
        tenant_id=spec.tenant_id,
        node_id=node_id,
        workspace_id=spec.workspace_id,
        runtime="cloud_run",
        address=address,
        secret=spec.secret,
        data={"resource": resource, "warm": spec.user_id is None},
    )
