"""The shell of an actor on Ray, and the life of its process: one background loop, age, crash.

A restarted actor runs its constructor and nothing else, so the constructor starts the loop. Ray
calls it with the event loop running. A loop that fails ends the process, and Ray starts it anew
from the store (``max_restarts=-1``): a half-dead actor that still answers would be worse.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from actors.core.errors.base import CoditectError, DeadlineExceeded

logger = logging.getLogger(__name__)

READY_SECONDS = 30.0
RETRY_SECONDS = 0.5
RESTART_PAUSE_SECONDS = 1.0


class Life:
    """The background loop of one actor: ``run`` is expected to run until the process ends.

    While ``run`` raises errors of this server before ``is_ready`` was called (the store is not there
    yet), it is started again; any other end of it ends the process with status 1.
    """

    def __init__(self, run: Callable[[], Awaitable[None]]) -> None:
        self._run = run
        self._began = time.monotonic()
        self._ready = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._live(), name="actor life")

    def is_ready(self) -> None:
        """Let the calls that wait in ``ready`` go on."""
        self._ready.set()

    async def ready(self) -> None:
        """Wait until the actor can serve. Raises DeadlineExceeded."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise DeadlineExceeded("start of the actor", READY_SECONDS) from None

    def ping(self) -> dict[str, Any]:
        """Return ``pid``, ``uptime_seconds`` and ``ready``."""
        return {
            "pid": os.getpid(),
            "uptime_seconds": time.monotonic() - self._began,
            "ready": self._ready.is_set(),
        }

    async def stop(self) -> None:
        """Cancel the loop and wait for it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _live(self) -> None:
        while True:
            try:
                await self._run()
            except CoditectError as error:
                if self._ready.is_set():
                    await self._die(error)
                logger.warning("cannot start yet: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 whatever it is, this process cannot go on
                await self._die(error)
            else:
                await self._die(RuntimeError("the loop ended"))

    async def _die(self, error: BaseException) -> None:
        logger.critical("this actor ends and is started anew: %r", error, exc_info=error)
        await asyncio.sleep(RESTART_PAUSE_SECONDS)  # so that a lasting fault does not spin
        logging.shutdown()
        os._exit(1)


class Loop(Protocol):
    """Works until it is cancelled."""

    async def run(self) -> None:
        """Work until cancelled."""

    def stats(self) -> Mapping[str, Any]:
        """Return counters, gauges and distributions."""
        ...


class Runner(Loop, Protocol):
    """Everything of an actor but Ray, which a shell runs."""

    async def close(self) -> None:
        """End what runs in the background; behind ``run``."""


R = TypeVar("R", bound=Runner)
S = TypeVar("S", bound=Loop)


class Shell(Generic[R]):
    """An actor on Ray: makes its runner, runs it, and has calls wait until it is there."""

    def __init__(self) -> None:
        self._runner: R | None = None
        self._life = Life(self._run)

    async def ping(self) -> dict[str, Any]:
        """Return that this process lives: ``pid``, ``uptime_seconds``, ``ready``."""
        return self._life.ping()

    async def stats(self) -> dict[str, Any]:
        """Return counters, gauges and distributions."""
        return dict((await self._ready()).stats())

    async def _make(self) -> R:
        """Make the runner; an error of this server has it made again a little later."""
        raise NotImplementedError

    async def _ready(self) -> R:
        await self._life.ready()
        assert self._runner is not None
        return self._runner

    async def _run(self) -> None:
        self._runner = runner = await self._make()
        self._life.is_ready()
        try:
            await runner.run()
        except asyncio.CancelledError:
            await runner.close()
            raise


class Pair(Generic[R, S]):
    """A runner, and a loop that lives as long."""

    def __init__(self, runner: R, loop: S) -> None:
        self.runner = runner
        self.loop = loop

    async def run(self) -> None:
        """Run both; when one fails, both end."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.runner.run(), name=type(self.runner).__name__)
            group.create_task(self.loop.run(), name=type(self.loop).__name__)

    async def close(self) -> None:
        """Close the runner."""
        await self.runner.close()

    def stats(self) -> dict[str, Any]:
        """Return what both count."""
        return {**self.runner.stats(), **self.loop.stats()}
