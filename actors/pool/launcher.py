"""Starts and ends what the warm pools hold, and notes in the slots how it went.

Each container is launched between two records: whatever dies in between, the sweep finds the first
record and knows what to remove.
"""

from __future__ import annotations

import asyncio
import logging

from actors.core.errors.base import CoditectError, DeadlineExceeded
from actors.core.errors.sessions import LaunchFailed
from actors.core.ports.services import Services
from actors.core.records.containers import (
    ContainerHandle,
    ContainerRecord,
    ContainerSpec,
    ContainerStatus,
    Health,
)
from actors.core.statistics import Histogram
from actors.pool.plan import ForgetContainer, RetireReason, StopContainer, StopReason
from actors.pool.slots import SlotState, SlotTable
from actors.pool.warm import SessionActors, WarmPools

logger = logging.getLogger(__name__)

START_SECONDS = 60.0


class Launcher:
    """Carries out single actions of the pool's plans. ``touched`` gets every container."""

    def __init__(
        self, services: Services, actors: SessionActors, pools: WarmPools, touched: set[str]
    ) -> None:
        self._services = services
        self._actors = actors
        self._pools = pools
        self._touched = touched
        self.launch_seconds = Histogram()
        self.launch_failures = 0
        self.start_failures = 0
        self.actors_retired = 0
        self.containers_stopped = 0

    async def start_actor(self, actor_id: str) -> None:
        """Start an actor whose slot says STARTING; the first claim that waits gets it."""
        clock = self._services.clock
        began = clock.monotonic()
        try:
            await self._actors.start(actor_id, START_SECONDS)
        except CoditectError as error:
            logger.warning("actor %s did not start: %s", actor_id, error)
            self.start_failures += 1
            self._pools.actors.failed(actor_id, clock.monotonic())
            await self.retire_actor(actor_id, RetireReason.UNRESPONSIVE)
        else:
            self._pools.start_seconds.observe(clock.monotonic() - began)
            self._pools.actors.started(actor_id, clock.monotonic())
            self._pools.offer()
        finally:
            self._give_up(self._pools.actors, actor_id)
            self._pools.changed.set()

    async def launch_container(self, container_id: str) -> None:
        """Launch a container whose slot says STARTING."""
        self._touched.add(container_id)
        clock = self._services.clock
        began = clock.monotonic()
        record = self._warm_record(container_id)
        try:
            handle = await self._launch_recorded(record)
        except CoditectError as error:
            logger.warning("warm container %s did not start: %s", container_id, error)
            self.launch_failures += 1
            self._pools.containers.failed(container_id, clock.monotonic())
            await self._forget_failed(record)
        else:
            self.launch_seconds.observe(clock.monotonic() - began)
            self._pools.containers.started(container_id, clock.monotonic(), handle)
        finally:
            self._give_up(self._pools.containers, container_id)
            self._pools.changed.set()

    async def _launch_recorded(self, record: ContainerRecord) -> ContainerHandle:
        """Launch between two records, so that whatever happens the sweep knows of the container."""
        services = self._services
        await services.ledger.put_container(record)
        settings = services.settings
        spec = ContainerSpec(
            container_id=record.container_id,
            tenant_id=record.tenant_id,
            workspace_id=record.workspace_id,
            secret=services.new_secret(),
            image=settings.container_image,
            cpu=settings.container_cpu,
            memory_bytes=settings.container_memory_bytes,
            pids=settings.container_pids,
            egress=settings.egress,
        )
        try:
            async with services.runtime.turn(settings.launch_wait):
                async with asyncio.timeout(settings.launch_timeout):
                    handle = await services.runtime.launch(spec)
        except (TimeoutError, DeadlineExceeded):
            raise LaunchFailed(record.container_id, "not ready in time") from None
        ready = record.model_copy(
            update={
                "status": ContainerStatus.WARM,
                "health": Health.HEALTHY,
                "handle": handle,
                "ready_at": services.clock.now(),
            }
        )
        await services.ledger.put_container(ready)
        return handle

    def _warm_record(self, container_id: str) -> ContainerRecord:
        settings = self._services.settings
        return ContainerRecord(
            container_id=container_id,
            tenant_id=settings.tenant_id,
            node_id=settings.node_id,
            workspace_id=self._services.new_id("w"),
            runtime=settings.runtime,
            status=ContainerStatus.STARTING,
            created_at=self._services.clock.now(),
        )

    async def _forget_failed(self, record: ContainerRecord) -> None:
        action = ForgetContainer(
            record.container_id,
            record.workspace_id,
            StopReason.ABANDONED_LAUNCH,
            (ContainerStatus.STARTING,),
            delete_workspace=True,
        )
        try:
            await self.end_container(action)
        except (CoditectError, OSError) as error:
            logger.warning("container %s is left to the sweep: %s", record.container_id, error)

    async def end_container(self, action: StopContainer | ForgetContainer) -> None:
        """End a container, unless its record moved on meanwhile. Raises what store and runtime raise."""
        services = self._services
        self._touched.add(action.container_id)
        if action.expected and not await services.ledger.set_container_status(
            action.container_id,
            ContainerStatus.STOPPING,
            expected=action.expected,
            reason=action.reason.value,
        ):
            return
        logger.info("container %s ends: %s", action.container_id, action.reason.value)
        if isinstance(action, StopContainer):
            workspace_id = action.handle.workspace_id
            grace = 0.0 if action.delete_workspace else services.settings.stop_grace
            await services.runtime.stop(action.handle, grace)
        else:
            workspace_id = action.workspace_id
        if action.delete_workspace:
            await services.runtime.delete_workspace(workspace_id)
        await services.ledger.remove_container(action.container_id)
        self.containers_stopped += 1

    async def retire_actor(self, actor_id: str, reason: RetireReason) -> None:
        """End an actor that has no slot (any more) for good."""
        try:
            await self._actors.kill(actor_id)
        except CoditectError as error:
            logger.warning("actor %s (%s) is still there: %s", actor_id, reason.value, error)
        else:
            self.actors_retired += 1

    def _give_up(self, table: SlotTable, slot_id: str) -> None:
        """Leave no slot STARTING behind, however its start ended."""
        slot = table.get(slot_id)
        if slot is not None and slot.state is SlotState.STARTING:
            table.failed(slot_id, self._services.clock.monotonic())
