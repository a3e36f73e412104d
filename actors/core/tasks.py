"""Background tasks with an owner: started in one place, bounded in number, ended together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)


class Tasks:
    """The tasks of one owner. A task that fails is logged and counted; the others go on.

    ``close`` cancels what is left and waits for it; afterwards nothing can be started.
    """

    def __init__(self, *, limit: int = 10_000) -> None:
        self._limit = limit
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.failures = 0

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that this owner ends. Raises RuntimeError when closed or full."""
        task = self.offer(name, work)
        if task is None:
            raise RuntimeError(f"no more tasks: {name}")
        return task

    def offer(
        self, name: str, work: Coroutine[Any, Any, Any], *, awaited: bool = False
    ) -> asyncio.Task[Any] | None:
        """Start a task that this owner ends; when closed or full, close ``work`` and return None.

        ``awaited``: somebody else waits for it and deals with its error, which is then no failure.
        """
        if self._closed or len(self._running) >= self._limit:
            work.close()
            return None
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._answered if awaited else self._ended)
        return task

    async def close(self) -> None:
        """Cancel every task and wait until all have ended."""
        self._closed = True
        current = asyncio.current_task()
        running = [task for task in self._running if task is not current]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _answered(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen, even if whoever waited for it is gone

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.failures += 1
            logger.error("task %s failed: %r", task.get_name(), error, exc_info=error)
