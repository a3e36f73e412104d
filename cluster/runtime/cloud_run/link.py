"""The control link: one request to a container that lasts as long as somebody wants the container.

Cloud Run gives an instance processor time only while a request is open, stops it some time after the last
one, and ends every request at its time limit. So the node holds one, and renews it before that limit: the
next is open before the former is closed. It says which start of the container answers, whereby a restart
is noticed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable

from actors.core.backoff import Backoff
from cluster.container_address import parse
from cluster.http_exchange import stream

OPEN_SECONDS = 15.0
SILENT_SECONDS = 35.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
LASTING_SECONDS = 5.0
"""A link that lasted so long is no attempt that failed."""
RESTARTED = "Cloud Run has started it anew"


class Restarted(Exception):
    """Another start of the container answers."""


Gone = Callable[[], Awaitable[str | None]]
"""Says why there is no such container any more; None while there is, or may be."""


class ControlLink:
    """The link to one container at an address with a ``boot``. ``renew_seconds``: its longest life."""

    def __init__(self, address: str, secret: str, renew_seconds: float, gone: Gone) -> None:
        self._address = address
        self._boot = parse(address).boot
        self._secret = secret
        self._renew_seconds = renew_seconds
        self._gone = gone

    async def hold(self) -> str:
        """Hold it until the container has ended or was started anew; return which. Cancellable."""
        current: asyncio.Task[None] | None = None
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        try:
            while True:
                following = await self._opened()
                if following is None:
                    if (reason := await self._gone()) is not None:
                        return reason
                    await _rest(current, backoff.next())
                    continue
                await _cancelled(current)
                current = following
                seconds = min(LASTING_SECONDS, self._renew_seconds)
                done, _ = await asyncio.wait({current}, timeout=seconds)
                if not done:
                    backoff.reset()
                    seconds = self._renew_seconds - seconds
                    done, _ = await asyncio.wait({current}, timeout=seconds)
                if done:
                    current = None
                    if isinstance(following.exception(), Restarted):
                        return RESTARTED
                    await asyncio.sleep(backoff.next())  # cut by the front, or broken: go on
        except Restarted:
            return RESTARTED
        finally:
            await _cancelled(current)

    async def _opened(self) -> asyncio.Task[None] | None:
        """Return a link that has said who it is; None if that failed. Raises Restarted."""
        answered = asyncio.Event()
        task = asyncio.create_task(self._follow(answered), name=f"control link {self._address}")
        waiting = asyncio.create_task(answered.wait())
        try:
            await asyncio.wait(
                {task, waiting}, timeout=OPEN_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        except BaseException:
            await _cancelled(task)
            raise
        finally:
            waiting.cancel()
        if task.done() and isinstance(task.exception(), Restarted):
            raise Restarted
        if answered.is_set():
            return task
        await _cancelled(task)
        return None

    async def _follow(self, answered: asyncio.Event) -> None:
        """Read until the end of the link. Raises Restarted, OSError, ValueError, CoditectError."""
        fields = [("x-codi-secret", self._secret)]
        async with contextlib.aclosing(stream(self._address, "GET", "/link", fields)) as parts:
            while True:
                async with asyncio.timeout(SILENT_SECONDS):
                    status, part = await anext(parts, (0, b""))
                if status == 0:
                    return
                if status != 200:
                    raise ConnectionResetError(f"the link was refused: {status}")
                if part and not answered.is_set():
                    try:
                        boot = json.loads(part.split(b"\n", 1)[0]).get("boot")
                    except (AttributeError, RecursionError) as error:
                        raise ValueError("the link does not say who it is") from error
                    if boot != self._boot:
                        raise Restarted
                    answered.set()


async def _rest(current: asyncio.Task[None] | None, seconds: float) -> None:
    """Wait before another attempt; not beyond the end of the link that there is."""
    if current is None or current.done():
        await asyncio.sleep(seconds)
    else:
        await asyncio.wait({current}, timeout=seconds)


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    if task is None:
        return
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # whatever ended it, it is not wanted any more
