"""The engine as other processes see it: questions to the node's StoreActor, within time limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast

from actors.core.errors.base import Busy, Unavailable
from actors.core.errors.store import CommitUnknown
from cluster.store.engines.interface import Commit, KeyRange, Pairs, Values
from cluster.store.remote.wire import MAX_WAITING, Framed, short_path


class RemoteEngine:
    """``Engine`` at the socket of a StoreActor; belongs to one event loop.

    One connection, made when it is needed and again when it has ended. A StoreActor that is restarted
    shows as Unavailable for reads and as CommitUnknown for commits; ``transact`` lives through both.
    """

    def __init__(self, path: Path, *, timeout_seconds: float = 10.0) -> None:
        self._path = path
        self._timeout_seconds = timeout_seconds
        self._link: Link | None = None
        self._linking = asyncio.Lock()

    async def get_many(self, keys: Sequence[bytes], read_version: int | None) -> Values:
        """Read some keys at one version."""
        return cast("Values", await self._ask("get_many", list(keys), read_version))

    async def get_range(
        self, span: KeyRange, read_version: int | None, *, limit: int, reverse: bool
    ) -> Pairs:
        """Read at most ``limit`` pairs of a range."""
        return cast("Pairs", await self._ask("get_range", span, read_version, limit, reverse))

    async def commit(self, commit: Commit) -> int:
        """Apply durably and return the commit version."""
        commit.check_limits()
        try:
            return cast("int", await self._ask("commit", commit))
        except Unavailable as error:
            raise CommitUnknown(str(error)) from error

    async def watch(self, key: bytes, seen: bytes | None, seconds: float) -> None:
        """Return when a key's value is not ``seen`` any more, or after some seconds."""
        await self._ask("watch", key, seen, seconds, longer=seconds)

    def close(self) -> None:
        """End the connection; the next question makes another."""
        if self._link is not None:
            self._link.abort()
            self._link = None

    async def _ask(self, method: str, *arguments: Any, longer: float = 0.0) -> Any:
        limit = self._timeout_seconds + longer
        try:
            async with asyncio.timeout(limit):
                return await (await self._linked()).ask(method, arguments)
        except TimeoutError:
            reason = f"no answer within {limit:g} s"
            raise Unavailable("store", reason) from None

    async def _linked(self) -> Link:
        if self._link is not None and self._link.transport is not None:
            return self._link
        async with self._linking:
            if self._link is None or self._link.transport is None:
                self._link = await self._connect()
            return self._link

    async def _connect(self) -> Link:
        """Return a new connection. Raises Unavailable."""
        try:
            with short_path(self._path) as name:
                _, link = await asyncio.get_running_loop().create_unix_connection(Link, name)
        except OSError as error:
            reason = f"nobody listens at {self._path}: {error.strerror}"
            raise Unavailable("store", reason) from error
        return link


class Link(Framed):
    """A connection with the questions that wait for their answers."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """Return the answer, or raise it. Raises Unavailable when the connection ends before."""
        if len(self._waiting) >= MAX_WAITING:
            raise Busy("store calls", 1.0)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        self._waiting[number] = future
        try:
            await self.writable.wait()
            if self.transport is None:
                raise Unavailable("store", "its process has ended")
            self.say((number, method, arguments))
            return await future
        finally:
            del self._waiting[number]

    def received(self, message: Any) -> None:
        """Hand an answer to whoever asked; one who waits no more gets none."""
        number, answer = message
        future = self._waiting.get(number)
        if future is None or future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """Report the end to everybody who waits."""
        super().connection_lost(error)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable("store", "its process has ended"))
