"""The instances of one revision: as many as its requests need, none without."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from actors.core.ports.clock import Clock
from actors.core.tasks import Tasks
from cluster.dev.cloud_run.programs.interface import Order, Program, Programs, StartFailed
from cluster.dev.cloud_run.serving.plan import Plan, Timings
from cluster.dev.cloud_run.serving.probes import until_started

logger = logging.getLogger(__name__)

_MOST_WAITING = 1000
_FIRST_RESTART_SECONDS, _LAST_RESTART_SECONDS = 0.5, 60.0
_SHORTEST_IDLE_SECONDS = 0.01


class NoPlace(Exception):
    """All instances were busy for too long, or too many requests wait already."""


@dataclass(eq=False, slots=True)
class Running:
    """One instance that has started. ``requests`` are those under way in it, ``used`` all it has had."""

    program: Program
    requests: int = 0
    used: int = 0
    frozen: bool = False
    ending: bool = False
    processors: asyncio.Lock = field(default_factory=asyncio.Lock)


class Workload:
    """Runs instances by a plan. ``changed`` is notified whenever ``instances`` or their requests change."""

    def __init__(self, plan: Plan, programs: Programs, clock: Clock, timings: Timings) -> None:
        self.plan = plan
        self.changed = asyncio.Condition()
        self._programs = programs
        self._clock = clock
        self._timings = timings
        self._tasks = Tasks()
        self._endings: set[asyncio.Task[None]] = set()
        self._running: list[Running] = []
        self._starting = 0
        self._waiting = 0
        self._failure: StartFailed | None = None
        self._failures = 0
        self._failures_in_row = 0
        self._name = f"{plan.name}-{uuid.uuid4().hex[:8]}"
        self._numbers = itertools.count(1)
        self._deployed = False
        self._closed = False

    @property
    def instances(self) -> int:
        """How many instances there are, without those that are stopping."""
        return len(self._running) + self._starting

    @property
    def requests(self) -> int:
        """How many requests are under way."""
        return sum(each.requests for each in self._running)

    async def deploy(self) -> None:
        """Start what a new revision starts with: one instance, to see that it does. Raises StartFailed."""
        wanted = max(self.plan.least, 1 if self.plan.checks_health else 0)
        seen = self._failures
        for _ in range(wanted - self.instances):
            self._begin_start()
        async with self.changed:
            await self.changed.wait_for(lambda: not self._starting or self._failures > seen)
        if self._failures > seen and self._failure is not None and not self._running:
            raise self._failure
        self._deployed = True

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[Running]:
        """Hold a place for a request in an instance, which is started if need be.

        Raises NoPlace; StartFailed when the instance that was started for it did not come up.
        """
        instance = await self._find()
        try:
            await self._settle(instance)
            yield instance
        finally:
            instance.requests -= 1
            self._tasks.offer(f"after a request of {self.plan.name}", self._after(instance))

    def replan(self, plan: Plan) -> None:
        """Go on by a plan with another number of instances."""
        self.plan = plan
        for instance in tuple(self._running)[plan.most :]:
            self._begin_end(instance, self._timings.grace)
        for _ in range(plan.least - self.instances):
            self._begin_start()

    async def close(self) -> None:
        """Stop every instance: SIGTERM, and SIGKILL after the grace time."""
        self._closed = True
        await self._notify()
        await self._tasks.close()
        for instance in tuple(self._running):
            self._begin_end(instance, self._timings.grace)
        await asyncio.gather(*self._endings, return_exceptions=True)

    async def crash(self) -> None:
        """Kill every instance, as an accident would."""
        await asyncio.gather(*(each.program.stop(0) for each in tuple(self._running)))

    async def stop_idle(self) -> None:
        """Stop every instance without requests now, as may happen at any time."""
        for instance in tuple(self._running):
            if not instance.requests:
                self._begin_end(instance, self._timings.grace)
        await asyncio.gather(*map(asyncio.shield, self._endings))

    async def _find(self) -> Running:
        if self._waiting >= _MOST_WAITING or not self.plan.most:
            raise NoPlace
        deadline, seen = self._clock.monotonic() + self._timings.queue, self._failures
        alarm = self._tasks.offer("end of a queue", self._alarm())
        self._waiting += 1
        try:
            async with self.changed:
                while True:
                    instance = self._free()
                    if instance is not None:
                        instance.requests += 1
                        instance.used += 1
                        self.changed.notify_all()
                        return instance
                    if self._failures > seen and self._failure is not None:
                        raise self._failure
                    late = self._clock.monotonic() >= deadline and not self._starting
                    if self._closed or late or alarm is None:
                        raise NoPlace
                    if self.instances < self.plan.most and not self._starting:
                        self._begin_start()
                    await self.changed.wait()
        finally:
            self._waiting -= 1
            if alarm is not None:
                alarm.cancel()

    def _free(self) -> Running | None:
        """Return the fullest instance that has a place, so that others can end."""
        most = self.plan.concurrency
        free = [each for each in self._running if each.requests < most]
        return max(free, key=lambda each: each.requests, default=None)

    async def _alarm(self) -> None:
        await self._clock.sleep(self._timings.queue)
        await self._notify()

    def _begin_start(self) -> None:
        self._starting += 1
        if self._tasks.offer(f"instance of {self.plan.name}", self._start()) is None:
            self._starting -= 1

    async def _start(self) -> None:
        plan = self.plan
        order = Order(
            instance_id=f"{self._name}-{next(self._numbers)}",
            image=plan.image,
            cpu=plan.cpu,
            memory_bytes=plan.memory_bytes,
            port=plan.port,
            env=plan.env,
            args=plan.args,
        )
        try:
            program = await self._programs.start(order)
            try:
                await until_started(plan.startup_probe, program.address, plan.port, self._clock)
            except BaseException:
                await program.stop(0)
                raise
        except StartFailed as error:
            logger.info("an instance of %s did not start: %s", plan.name, error)
            self._failure = error
            self._failures += 1
            self._failures_in_row += 1
            if self._deployed:
                self._tasks.offer("minimum of instances", self._keep_minimum())
        else:
            self._failures_in_row = 0
            self._take_over(Running(program))
        finally:
            self._starting -= 1
            await self._notify()

    def _take_over(self, instance: Running) -> None:
        self._running.append(instance)
        self._tasks.offer("end of an instance", self._watch(instance))
        self._tasks.offer("idleness of an instance", self._care(instance))
        self._tasks.offer("processors of an instance", self._after(instance))

    async def _watch(self, instance: Running) -> None:
        """See an instance end; one that must be there is started again."""
        await instance.program.wait()
        self._begin_end(instance, 0)
        await self._keep_minimum()

    async def _keep_minimum(self) -> None:
        """Start an instance when there are too few, the later the more often that failed."""
        doubled = _FIRST_RESTART_SECONDS * 2 ** min(self._failures_in_row, 10)
        if self.instances < self.plan.least:
            await self._clock.sleep(min(doubled, _LAST_RESTART_SECONDS))
            if self.instances < self.plan.least:
                self._begin_start()

    async def _care(self, instance: Running) -> None:
        """End an instance that had no requests for a while, if there may be fewer."""
        while not instance.ending:
            async with self.changed:
                await self.changed.wait_for(lambda: not instance.requests or instance.ending)
            used = instance.used
            await self._clock.sleep(max(self._timings.idle, _SHORTEST_IDLE_SECONDS))
            spare = len(self._running) > self.plan.least
            if spare and instance.used == used and not instance.requests:
                self._begin_end(instance, self._timings.grace)

    async def _after(self, instance: Running) -> None:
        await self._notify()
        await self._settle(instance)

    async def _settle(self, instance: Running) -> None:
        """Give an instance its processors, or take them, as its requests are."""
        if not self.plan.throttles:
            return
        async with instance.processors:
            idle = instance.requests == 0
            if idle != instance.frozen and not instance.ending:
                await (instance.program.freeze() if idle else instance.program.thaw())
                instance.frozen = idle

    def _begin_end(self, instance: Running, grace_seconds: float) -> None:
        """Begin to end an instance: goes on when whoever asked is cancelled; ``close`` waits for it."""
        if instance.ending:
            return
        instance.ending = True
        self._running.remove(instance)
        task = asyncio.get_running_loop().create_task(self._end(instance, grace_seconds))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _end(self, instance: Running, grace_seconds: float) -> None:
        try:
            async with instance.processors:
                if instance.frozen:
                    await instance.program.thaw()
            await instance.program.stop(grace_seconds)
        except Exception:
            logger.exception("an instance of %s did not end", self.plan.name)
        await self._notify()

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()
