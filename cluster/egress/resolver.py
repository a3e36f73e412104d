"""Resolves names as this machine does, for many sessions at once, none of which holds the others up.

getaddrinfo(3) waits for as long as a name's servers let it, in a thread. So nobody has more than a few
lookups under way, and a lookup that nobody waits for any more keeps its place until it ends.
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

    async def resolve(self, whose: str, host: str, port: int) -> list[str]:
        """Return the addresses of a host; ``whose`` lookup it is. Raises Unresolved."""
        if self._under_way[whose] >= LOOKUPS_OF_ONE or self._under_way.total() >= LOOKUPS:
            raise Unresolved(f"{host}: too many names are being looked up")
        self._under_way[whose] += 1
        loop = asyncio.get_running_loop()
        work = self._pool.submit(self._lookup, host, port)
        work.add_done_callback(lambda done: _tell(loop, self._done, whose, done))
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            raise Unresolved(f"{host}: no answer within {self._seconds:g} s") from None
        except (OSError, UnicodeError) as error:
            raise Unresolved(f"{host}: {getattr(error, 'strerror', None) or error}") from None

    def close(self) -> None:
        """Take nothing new; lookups under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, whose: str, _done: Future[list[str]]) -> None:
        self._under_way[whose] -= 1
        if self._under_way[whose] <= 0:
            del self._under_way[whose]


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[..., None], *arguments: object) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(what, *arguments)
