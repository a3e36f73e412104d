"""The engine as other processes see it: calls to the StoreActor, within time limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from actors.directory import ActorDirectory
from actors.errors import CommitUnknown, DeadlineExceeded, Unavailable
from cluster.store.batching import Batcher
from cluster.store.engine import Commit, KeyRange, Pairs, Values

Read = tuple[str, tuple[Any, ...]]
"""A reading method of the engine, and its arguments in order."""


class RemoteEngine:
    """``Engine`` over an actor found by name; belongs to one event loop.

    A restart of the StoreActor shows as Unavailable for reads and as CommitUnknown for commits;
    ``transact`` lives through both. Reads that come close together go as one call, and so do commits.
    """

    def __init__(
        self, directory: ActorDirectory, actor_name: str, *, timeout_seconds: float = 10.0
    ) -> None:
        self._directory = directory
        self._actor_name = actor_name
        self._timeout_seconds = timeout_seconds
        self._reads = Batcher[Read, Values | Pairs](self._send_reads)
        self._commits = Batcher[Commit, int](self._send_commits)

    async def get_many(self, keys: Sequence[bytes], read_version: int | None) -> Values:
        """Read some keys at one version."""
        answer = await self._read(("get_many", (list(keys), read_version)))
        assert isinstance(answer, Values)
        return answer

    async def get_range(
        self, span: KeyRange, read_version: int | None, *, limit: int, reverse: bool
    ) -> Pairs:
        """Read at most ``limit`` pairs of a range."""
        answer = await self._read(("get_range", (span, read_version, limit, reverse)))
        assert isinstance(answer, Pairs)
        return answer

    async def commit(self, commit: Commit) -> int:
        """Apply durably and return the commit version."""
        commit.check_limits()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._commits.ask(commit)
        except (Unavailable, DeadlineExceeded, TimeoutError) as error:
            raise CommitUnknown(str(error) or "no answer in time") from error

    async def statistics(self) -> dict[str, Any]:
        """Return the engine's counters and gauges."""
        answer: dict[str, Any] = await self._call("stats")
        return answer

    async def _read(self, read: Read) -> Values | Pairs:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._reads.ask(read)
        except TimeoutError:
            reason = f"no answer within {self._timeout_seconds:g} s"
            raise Unavailable("store", reason) from None
        except DeadlineExceeded as error:
            raise Unavailable("store", str(error)) from error

    async def _send_reads(self, reads: Sequence[Read]) -> list[Values | Pairs | BaseException]:
        answers: list[Values | Pairs | BaseException] = await self._call("read", reads)
        return answers

    async def _send_commits(self, commits: Sequence[Commit]) -> list[int | BaseException]:
        answers: list[int | BaseException] = await self._call("commit", commits)
        return answers

    async def _call(self, method: str, *arguments: Any) -> Any:
        return await self._directory.call(
            self._actor_name, method, *arguments, timeout_seconds=self._timeout_seconds
        )
