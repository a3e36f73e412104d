"""Reports what begins and ceases to listen, while somebody wants to know, and ends programs that do."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cluster.codi.agent.errors import AgentError
from cluster.codi.agent.ports.listeners import Listener, Listeners, described, holder

Ports = list[dict[str, Any]]

PERIOD_SECONDS = 0.8
"""A change is known within a second, with what its way to people takes."""

MAX_WATCH_SECONDS = 900.0
_KILL_SECONDS = 3.0
_LOOK_SECONDS = 0.05


class PortWatch:
    """Looks at what listens, once a period until the last watch is over; ``publish`` gets each new list."""

    def __init__(self, listeners: Listeners, publish: Callable[[Ports], None]) -> None:
        self._listeners = listeners
        self._publish = publish
        self._until = 0.0
        self._seen: tuple[Listener, ...] = ()
        self._shown: Ports = []
        self._timer: asyncio.TimerHandle | None = None

    def ports(self, watch_seconds: float = 0.0) -> Ports:
        """Return what listens now; changes are published for so long from now on."""
        self._look()
        if watch_seconds > 0:
            until = time.monotonic() + min(watch_seconds, MAX_WATCH_SECONDS)
            self._until = max(self._until, until)
            if self._timer is None:
                self._again()
        return self._shown

    async def stop(self, port: int) -> bool:
        """End the program that listens on a port: SIGTERM, and SIGKILL to one that listens still.

        Returns whether it listens no more. Raises AgentError ``not_found``, ``forbidden``.
        """
        listener = self._on(port)
        if listener is None:
            detail = f"nothing listens on port {port}"
            raise AgentError(404, "not_found", detail, kind="port", identity=str(port))
        for number, seconds in ((signal.SIGTERM, _KILL_SECONDS), (signal.SIGKILL, 1.0)):
            pid = holder(listener)
            if pid is None or pid == 1:
                raise AgentError(403, "forbidden", "its program cannot be seen")
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            give_up_at = time.monotonic() + seconds
            while time.monotonic() < give_up_at:
                await asyncio.sleep(_LOOK_SECONDS)
                if self._on(port) != listener:
                    self._look()
                    return True
        return False

    def close(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
        self._listeners.close()

    def _on(self, port: int) -> Listener | None:
        return next((each for each in self._listeners.find() if each.port == port), None)

    def _look(self) -> bool:
        """Look; say whether anything is different."""
        found = self._listeners.find()
        if found == self._seen:
            return False
        self._seen, self._shown = found, described(found)
        if self._timer is not None:
            self._publish(self._shown)
        return True

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD_SECONDS, self._tick)

    def _tick(self) -> None:
        if time.monotonic() >= self._until:
            self._timer = None
            return
        self._again()
        self._look()
