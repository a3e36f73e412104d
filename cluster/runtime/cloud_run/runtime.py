"""Containers on Google Cloud Run, a service or an instance each. See ``docs/design/cloud-run.md``.

The node notes what it is about to ask for, asks, and looks how it goes; whatever dies in between, note or
label lead to what was made. ``placement`` and ``operations`` decide, ``client`` asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from weakref import WeakValueDictionary

from actors.core.backoff import Backoff
from actors.core.errors.base import CoditectError, DeadlineExceeded
from actors.core.errors.sessions import LaunchFailed
from actors.core.ports.clock import Clock
from actors.core.records.containers import ContainerHandle, ContainerSpec, Health
from cluster.cloud_run_options import Shape
from cluster.container_address import parse
from cluster.runtime.cloud_run import notes
from cluster.runtime.cloud_run.api import Api
from cluster.runtime.cloud_run.errors import CallFailed
from cluster.runtime.cloud_run.launch import (
    ANSWER_SECONDS,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Launcher,
    handle_of,
)
from cluster.runtime.cloud_run.link import RESTARTED, ControlLink
from cluster.runtime.cloud_run.notes import Note, Notes, RoomFile
from cluster.runtime.cloud_run.operations import TRANSIENT, Outcome, Phase
from cluster.runtime.cloud_run.placement import Placement, place_of
from cluster.runtime.cloud_run.service_spec import Rules
from cluster.runtime.cloud_run.sight import Lookout
from cluster.runtime.disks.workspaces import check_id
from cluster.runtime.health import ask_health
from cluster.runtime.launching.slots import LaunchSlots
from cluster.runtime.threads import in_thread, run_to_the_end

logger = logging.getLogger(__name__)

REMOVAL_SECONDS = 60.0
FORGOTTEN_SECONDS = 900.0
UNCLAIMED_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, and how many launches there are at once on the node."""

    launch_timeout: float
    probe_timeout: float
    launches_at_once: int
    renew_seconds: float


class CloudRunRuntime:
    """A ContainerRuntime on Cloud Run. Cheap to make; asks nothing before it is used."""

    name = "cloud_run"
    keeps_workspaces = False

    def __init__(
        self,
        data_dir: Path,
        *,
        api: Api,
        shape: Shape,
        rules: Rules,
        placement: Placement,
        limits: Limits,
        clock: Clock,
    ) -> None:
        directory = notes.directory(data_dir)
        self._api = api
        self._rules = rules
        self._placement = placement
        self._limits = limits
        self._clock = clock
        self._notes = Notes(directory / "containers")
        room = RoomFile(directory)
        self._turns = LaunchSlots(directory / "turns", limits.launches_at_once, clock)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._launcher = Launcher(api, shape, rules, placement, self._notes, room, clock)
        self._lookout = Lookout(api, rules.node_id, placement, self._notes, room, clock)

    def turn(self, limit_seconds: float) -> AbstractAsyncContextManager[None]:
        """Hold a turn to launch, of those that all processes of the node share."""
        return self._turns.turn(limit_seconds)

    async def prepare(self, workspace_id: str) -> None:
        """Do nothing: a workspace comes from the archive."""
        check_id("workspace_id", workspace_id)

    async def launch(self, spec: ContainerSpec) -> ContainerHandle:
        """Make a container and return when CODI answers. Idempotent by its id.

        Raises InvalidArgument; LaunchFailed: what may have been made nevertheless is removed, at the
        latest by a sweep that finds its label.
        """
        check_id("container_id", spec.container_id)
        check_id("workspace_id", spec.workspace_id)
        async with self._locks.setdefault(spec.container_id, asyncio.Lock()):
            former = await in_thread(self._notes.read, spec.container_id)
            if former is not None and (running := await self._running(former, spec)) is not None:
                return running
            try:
                async with asyncio.timeout(self._limits.launch_timeout):
                    if former is not None:
                        await self._remove(former.spec.container_id, former.resource)
                    return await self._launcher.launch(spec)
            except BaseException as error:
                await run_to_the_end(self._clean_up(spec.container_id))
                if isinstance(error, TimeoutError):
                    limit = self._limits.launch_timeout
                    raise LaunchFailed(spec.container_id, f"not ready within {limit:g} s") from None
                if isinstance(error, (OSError, CoditectError)):
                    raise LaunchFailed(spec.container_id, str(error)) from error
                raise

    async def _running(self, former: Note, spec: ContainerSpec) -> ContainerHandle | None:
        """Return the container of a former launch, if it is the one that is wanted and lives."""
        if former.handle is None or former.spec.secret != spec.secret:
            return None
        is_dead = await self.probe(former.handle) is Health.DEAD
        return None if is_dead else former.handle

    async def probe(self, handle: ContainerHandle) -> Health:
        """Return its health: DEAD when gone or started anew, UNHEALTHY when CODI does not answer."""
        if handle.address:
            try:
                async with asyncio.timeout(self._limits.probe_timeout):
                    health = await ask_health(handle.address, handle.secret)
            except (OSError, CoditectError):
                health = None
            if health is not None:
                same = health.get("boot") == parse(handle.address).boot
                return Health.HEALTHY if same else Health.DEAD
        gone = await self._gone(_resource(handle))
        return Health.UNHEALTHY if gone is None else Health.DEAD

    async def wait_exit(self, handle: ContainerHandle) -> str:
        """Return the reason when it has ended, holding the control link meanwhile.

        A warm one that is nobody's yet is only looked at now and then: its processor time costs nothing.
        """
        resource = _resource(handle)
        if not handle.address:
            return await self._gone(resource) or "it never became ready"
        if handle.data.get("warm") and (reason := await self._while_unclaimed(handle)) is not None:
            return reason
        link = ControlLink(
            handle.address,
            handle.secret,
            self._limits.renew_seconds,
            lambda: self._gone(resource),
        )
        return await link.hold()

    async def _while_unclaimed(self, handle: ContainerHandle) -> str | None:
        """Return when a warm container is claimed, or the reason when it has ended."""
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    health = await ask_health(handle.address, handle.secret)
            except (OSError, CoditectError):
                health = None
            if health is None:
                if (reason := await self._gone(_resource(handle))) is not None:
                    return reason
            elif health.get("boot") != parse(handle.address).boot:
                return RESTARTED
            elif health.get("session_id"):
                return None
            await self._clock.sleep(UNCLAIMED_SECONDS)

    async def _gone(self, resource: str) -> str | None:
        """Return why a resource is no container any more; None while it is, or that cannot be learnt."""
        try:
            seen = await self._api.get(resource)
        except CoditectError as error:
            logger.info("%s is not looked at: %s", resource, error)
            return None
        if seen is None or seen.phase is Phase.DELETING:
            return "removed from Cloud Run"
        return seen.reason or "failed" if seen.phase is Phase.FAILED else None

    async def stop(self, handle: ContainerHandle, grace_seconds: float) -> None:
        """Remove it; Cloud Run asks it to end and gives it ten seconds. Idempotent.

        Raises DeadlineExceeded when it is still there after a minute, CallFailed when it may not go.
        """
        del grace_seconds
        async with self._locks.setdefault(handle.container_id, asyncio.Lock()):
            await self._remove(handle.container_id, _resource(handle))

    async def _remove(self, container_id: str, resource: str) -> None:
        """Remove a resource; its note goes when it is certainly gone."""
        self._placement.ended(place_of(resource), self._clock.monotonic())
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        try:
            async with asyncio.timeout(REMOVAL_SECONDS):
                await self._delete(resource)
                while not await self._is_removed(resource):
                    await self._clock.sleep(backoff.next())
        except TimeoutError:
            raise DeadlineExceeded(f"removal of {resource}", REMOVAL_SECONDS) from None
        note = await in_thread(self._notes.read, container_id)
        if note is not None and note.resource == resource:
            await in_thread(self._notes.remove, container_id)
        self._lookout.forget(resource)

    async def _delete(self, resource: str) -> None:
        """Have a resource removed: asked once, and again only where that failed, at the place's own pace."""
        place = place_of(resource)
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                return await self._api.delete(resource)
            except CallFailed as failed:
                if failed.outcome not in TRANSIENT:
                    raise
                now = self._clock.monotonic()
                if failed.outcome is Outcome.EXHAUSTED:
                    self._placement.refused(place, now, counted=True)
            await self._clock.sleep(max(backoff.next(), self._placement.pause(place, now)))
            self._placement.wrote(place, self._clock.monotonic())

    async def _is_removed(self, resource: str) -> bool:
        try:
            seen = await self._api.get(resource)
        except CallFailed as failed:
            if failed.outcome not in TRANSIENT:
                raise
            return False
        return seen is None or seen.phase is Phase.DELETING

    async def _clean_up(self, container_id: str) -> None:
        """Remove what a launch that failed may have made; the note stays for the sweep where it cannot."""
        note = await in_thread(self._notes.read, container_id)
        if note is None:
            return
        try:
            await self._remove(container_id, note.resource)
        except CoditectError as error:
            logger.warning("%s is left to the sweep: %s", note.resource, error)

    async def list(self) -> Sequence[ContainerHandle]:
        """Return every container of this node, known or not; also those that are being made."""
        sight = await self._lookout.look()
        running: list[ContainerHandle] = []
        for note in await in_thread(lambda: list(self._notes.all())):
            place = place_of(note.resource)
            unseen = place in sight.blind or place not in self._placement.places
            there = unseen or note.resource in sight.resources
            recent = (note.ready_at or note.began_at) >= sight.at
            if there or (recent and note.handle is not None):
                node = self._rules.node_id
                running.append(note.handle or handle_of(note.spec, node, note.resource, ""))
            elif not recent and self._clock.now() - note.began_at > FORGOTTEN_SECONDS:
                await in_thread(self._notes.remove, note.spec.container_id)
        known = {handle.data["resource"] for handle in running}
        ids = {handle.container_id for handle in running}
        strangers = [h for r, h in sight.unexplained.items() if r not in known]
        return running + [_told_apart(h) if h.container_id in ids else h for h in strangers]

    async def delete_workspace(self, workspace_id: str) -> None:
        """Do nothing: it went with its container."""
        check_id("workspace_id", workspace_id)

    async def quota(self) -> Mapping[str, int]:
        """Return how many containers each place still takes, by its name."""
        await self._lookout.look()
        return {str(place): left for place, left in self._placement.room().items()}


def _told_apart(stranger: ContainerHandle) -> ContainerHandle:
    """Return the handle of another resource of a known container, with an id that a sweep ends."""
    digest = blake2b(_resource(stranger).encode(), digest_size=4).hexdigest()
    return stranger.model_copy(update={"container_id": f"{stranger.container_id}-{digest}"})


def _resource(handle: ContainerHandle) -> str:
    return str(handle.data["resource"])
