"""The engine as other processes see it: calls to the StoreActor, within time limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.directory import ActorDirectory
from actors.errors import CommitUnknown, DeadlineExceeded, Unavailable
from cluster.store.engine import Commit, KeyRange, Pairs, Values


class RemoteEngine:
    """``Engine`` over an actor found by name; belongs to one event loop.

    A restart of the StoreActor shows as Unavailable for reads and as CommitUnknown for commits;
    ``transact`` lives through both.
    """

    def __init__(
        self, directory: ActorDirectory, actor_name: str, *, timeout_seconds: float = 10.0
    ) -> None:
        self._directory = directory
        self._actor_name = actor_name
        self._timeout_seconds = timeout_seconds

    async def get_many(self, keys: Sequence[bytes], read_version: int | None) -> Values:
        """Read some keys at one version."""
        answer: Values = await self._read("get_many", list(keys), read_version)
        return answer

    async def get_range(
        self, span: KeyRange, read_version: int | None, *, limit: int, reverse: bool
    ) -> Pairs:
        """Read at most ``limit`` pairs of a range."""
        answer: Pairs = await self._read("get_range", span, read_version, limit, reverse)
        return answer

    async def commit(self, commit: Commit) -> int:
        """Apply durably and return the commit version."""
        commit.check_limits()
        try:
            version: int = await self._call("commit", commit)
        except (Unavailable, DeadlineExceeded) as error:
            raise CommitUnknown(str(error)) from error
        return version

    async def statistics(self) -> dict[str, Any]:
        """Return the engine's counters and gauges."""
        answer: dict[str, Any] = await self._call("stats")
        return answer

    async def _read(self, method: str, *arguments: Any) -> Any:
        try:
            return await self._call(method, *arguments)
        except DeadlineExceeded as error:
            raise Unavailable("store", str(error)) from error

    async def _call(self, method: str, *arguments: Any) -> Any:
        return await self._directory.call(
            self._actor_name, method, *arguments, timeout_seconds=self._timeout_seconds
        )
