"""Resolves names as this machine does, for many sessions at once, none of which holds the others up.

getaddrinfo(3) waits for as long as a name's servers let it, in a thread. So nobody has more than a few
lookups under way, others of theirs wait, and a lookup that nobody waits for any more keeps its place until it
ends. Who asks for a name that is being looked up for them gets the same answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

LOOKUPS = 64
LOOKUPS_OF_ONE = 4
SECONDS = 15.0

Lookup = Callable[[str, int], list[str]]


class Unresolved(Exception):
    """A name leads nowhere; in words."""


def look_up(host: str, port: int) -> list[str]:
    """Return addresses of a host in the order in which to try them. Blocks; raises OSError, UnicodeError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Resolver:
    """Looks names up. Belongs to one event loop."""

    def __init__(self, lookup: Lookup = look_up, *, seconds: float = SECONDS) -> None:
        self._lookup = lookup
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="egress-names")
        self._under_way: Counter[str] = Counter()
        self._shared: dict[tuple[str, str, int], Future[list[str]]] = {}
        self._changed = asyncio.Condition()

    async def resolve(self, whose: str, host: str, port: int) -> list[str]:
        """Return the addresses of a host; ``whose`` lookup it is. Raises Unresolved."""
        try:
            async with asyncio.timeout(self._seconds):
                work = await self._begin(whose, host, port)
                return await asyncio.shield(asyncio.wrap_future(work))
        except TimeoutError:
            raise Unresolved(f"{host}: no answer within {self._seconds:g} s") from None
        except (OSError, UnicodeError) as error:
            raise Unresolved(f"{host}: {getattr(error, 'strerror', None) or error}") from None

    async def _begin(self, whose: str, host: str, port: int) -> Future[list[str]]:
        """Return a lookup that is under way, which begins when there is a place for it."""
        key = whose, host, port
        async with self._changed:
            await self._changed.wait_for(lambda: key in self._shared or self._has_place(whose))
            if (known := self._shared.get(key)) is not None:
                return known
            self._under_way[whose] += 1
            loop = asyncio.get_running_loop()
            work = self._shared[key] = self._pool.submit(self._lookup, host, port)
        work.add_done_callback(lambda _: _tell(loop, self._done, key))
        return work

    def _has_place(self, whose: str) -> bool:
        return self._under_way[whose] < LOOKUPS_OF_ONE and self._under_way.total() < LOOKUPS

    def close(self) -> None:
        """Take nothing new; lookups under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, key: tuple[str, str, int]) -> None:
        whose, *_ = key
        del self._shared[key]
        self._under_way[whose] -= 1
        if self._under_way[whose] <= 0:
            del self._under_way[whose]
        self._notice = asyncio.ensure_future(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[..., None], *arguments: object) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(what, *arguments)
