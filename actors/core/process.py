"""How an actor's process begins and ends: its one background loop, its age, its crash.

A restarted actor runs its constructor and nothing else, so the constructor starts the loop. Ray
calls it with the event loop running. A loop that fails ends the process, and Ray starts it anew
from the store (``max_restarts=-1``): a half-dead actor that still answers would be worse.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from actors.core.errors import CoditectError, DeadlineExceeded

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
