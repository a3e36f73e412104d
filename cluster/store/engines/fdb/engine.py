"""The FoundationDB engine: each call is a fresh native transaction, nothing is kept in between.

* **Reads** at a given version set it with ``set_read_version``; reads at the newest version are
  retried by the client's own ``on_error``.
* **Commits** carry their read version and conflict ranges into a new transaction, where they count
  exactly as if it had read them itself. Read conflicts go in before mutations, and
  read-your-writes is off: a conflict on a key that was written before is silently dropped otherwise.
* **Idempotency keys.** Each commit writes a marker under its key, with its versionstamp, and has the
  marker among its read conflicts. Of two sendings of a commit that has read something, the later
  conflicts, since both read at one version; it looks the marker up and answers with what it
  says. A commit that has read nothing gets a read version of its own, so it looks for the marker
  at that version first. Thus an unknown result (1021) and one that may still come true (1031) are
  harmless, see ``errors``.
* **Markers** are removed an hour later, measured in versions of the cluster and not by a clock.

Every wait is limited: natively, and once more here should the client's thread be stuck.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from actors.core.errors.base import Busy, CoditectError, Unavailable
from actors.core.errors.store import TransactionTooOld
from actors.core.statistics import Histogram
from cluster.store.engines.fdb import errors as fdb_errors
from cluster.store.engines.fdb.client import (
    MIN_API_VERSION,
    ClientOptions,
    Connection,
    TlsOptions,
    connect,
    describe,
    settled,
)
from cluster.store.engines.fdb.layout import VERSIONS_PER_SECOND, Layout
from cluster.store.engines.interface import (
    RANGE_BYTES,
    Commit,
    KeyRange,
    MutationKind,
    Pairs,
    Values,
    key_after,
)

T = TypeVar("T")

KEY_LIFE_SECONDS = 3600
MAX_IN_FLIGHT = 20_000
SWEEP_STEP = 1000
_GRACE_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Counters:
    commits: int = 0
    conflicts: int = 0
    unknown: int = 0
    recalled: int = 0
    reads: int = 0
    range_reads: int = 0
    swept: int = 0
    in_flight: int = 0
    version: int = 0
    commit_seconds: Histogram = field(default_factory=Histogram)


class FdbEngine:
    """An engine over a cluster, below ``prefix``. ``open`` before use, ``close`` afterwards.

    One a process, and one event loop. ``connect`` loads the client and opens the database.
    """

    def __init__(
        self,
        cluster_file: Path | None,
        *,
        prefix: str,
        api_version: int = MIN_API_VERSION,
        tls: TlsOptions | None = None,
        connect: Callable[[ClientOptions], Connection] = connect,
        timeout_seconds: float = 5.0,
        sweep_seconds: float = 60.0,
    ) -> None:
        self._options = ClientOptions(cluster_file, api_version, tls or TlsOptions())
        self._connect = connect
        self._layout = Layout(prefix)
        self._timeout_seconds = timeout_seconds
        self._sweep_seconds = sweep_seconds
        self._counters = _Counters()
        self._connection: Connection | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load the client, open the cluster and see that it answers. Raises Unavailable."""
        connection = await asyncio.to_thread(self._connect, self._options)
        self._connection = connection
        try:
            # Also because a process whose first call is a commit gets 1021.
            self._counters.version = (await self.get_many([], None)).version
        except CoditectError as error:
            self._connection = None
            raise Unavailable("store", f"the cluster does not answer: {error}") from error
        self._sweeper = asyncio.create_task(self._sweep_forever(), name="store sweeper")

    async def close(self) -> None:
        """Stop. The client's network thread ends with the process."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
            self._sweeper = None
        self._connection = None

    async def get_many(self, keys: Sequence[bytes], read_version: int | None) -> Values:
        """Read some keys at one version."""

        async def body(tr: Any) -> Values:
            # All are under way before the first is awaited.
            version = tr.get_read_version()
            found = [tr.snapshot.get(self._layout.key(key)) for key in keys]
            at = await settled(version)
            return Values(at, [(await settled(value)).value for value in found])

        self._counters.reads += 1
        return await self._read(read_version, body)

    async def get_range(
        self, span: KeyRange, read_version: int | None, *, limit: int, reverse: bool
    ) -> Pairs:
        """Read at most ``limit`` pairs of a range; fewer, with ``more``, when they are large."""

        async def body(tr: Any) -> Pairs:
            version = tr.get_read_version()
            pairs: list[tuple[bytes, bytes]] = []
            more = False
            if span.begin < span.end:
                pairs, more = await self._scan(tr, self._layout.span(span), limit, reverse)
            return Pairs(await settled(version), pairs, more)

        self._counters.range_reads += 1
        return await self._read(read_version, body)

    async def commit(self, commit: Commit) -> int:
        """Apply durably and return the commit version."""
        commit.check_limits()
        if commit.read_conflicts and commit.read_version <= 0:
            raise TransactionTooOld("no read version")
        began = time.monotonic()
        try:
            async with self._call(fdb_errors.of_commit) as connection:
                version = await self._commit_once(connection, commit)
        except CoditectError as error:
            self._count_failure(error)
            raise
        self._counters.commits += 1
        self._counters.version = max(self._counters.version, version)
        self._counters.commit_seconds.observe(time.monotonic() - began)
        return version

    async def watch(self, key: bytes, seen: bytes | None, seconds: float) -> None:
        """Return when a key's value is not ``seen`` any more, or after some seconds."""
        async with self._call(fdb_errors.of_read, seconds) as connection:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._until_changed(connection, self._layout.key(key), seen)

    async def statistics(self) -> dict[str, Any]:
        """Return counters and gauges."""
        counters = self._counters
        return {
            "commits_total": counters.commits,
            "conflicts_total": counters.conflicts,
            "commits_unknown_total": counters.unknown,
            "commits_recalled_total": counters.recalled,
            "commit_keys_removed_total": counters.swept,
            "reads_total": counters.reads,
            "range_reads_total": counters.range_reads,
            "commit_seconds": counters.commit_seconds.snapshot(),
            "calls_in_flight": counters.in_flight,
            "version": counters.version,
        }

    async def sweep(self) -> int:
        """Remove some markers that are older than their life; return how many."""

        async def body(tr: Any) -> int:
            floor = await settled(tr.get_read_version()) - KEY_LIFE_SECONDS * VERSIONS_PER_SECOND
            if floor <= 0:
                return 0
            old = self._layout.ages_before(floor)
            rows, _, _ = await settled(self._range(tr, old, SWEEP_STEP, 1, reverse=False))
            for row in rows:
                tr.clear(self._layout.marker(row.value))
            if rows:
                tr.clear_range(old.begin, key_after(rows[-1].key))
                await settled(tr.commit())
            return len(rows)

        removed = await self._read(None, body)
        self._counters.swept += removed
        return removed

    async def _read(self, read_version: int | None, body: Callable[[Any], Awaitable[T]]) -> T:
        """Run what may run again: at the newest version until it succeeds or its time is over."""
        if read_version is not None and read_version <= 0:
            raise TransactionTooOld("no read version")
        async with self._call(fdb_errors.of_read) as connection:
            return await self._run(connection, read_version, body)

    async def _run(
        self, connection: Connection, read_version: int | None, body: Callable[[Any], Awaitable[T]]
    ) -> T:
        tr = self._transaction(connection)
        while True:
            if read_version is not None:
                tr.set_read_version(read_version)
            try:
                return await body(tr)
            except connection.fdb.FDBError as error:
                if read_version is not None:
                    raise
                await settled(tr.on_error(error))

    async def _until_changed(self, connection: Connection, key: bytes, seen: bytes | None) -> None:
        """Watch a key natively: from the commit of a transaction on, relative to what that one read."""
        tr = (
            connection.database.create_transaction()
        )  # without a time limit, which ends watches, too
        while True:
            try:
                if await _get(tr, key) != seen:
                    return
                changed = tr.watch(key)
                await settled(tr.commit())
                await settled(changed)
                tr.reset()
            except connection.fdb.FDBError as error:
                await settled(tr.on_error(error))

    async def _scan(
        self, tr: Any, span: KeyRange, limit: int, reverse: bool
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        pairs: list[tuple[bytes, bytes]] = []
        size, batch = 0, 1
        while True:
            # One more than asked for: the client's own ``more`` only means that it stopped early.
            wanted = limit + 1 - len(pairs)
            rows, _, more = await settled(self._range(tr, span, wanted, batch, reverse=reverse))
            pairs += [(self._layout.strip(row.key), row.value) for row in rows]
            size += sum(len(row.key) + len(row.value) for row in rows)
            if len(pairs) > limit:
                return pairs[:limit], True
            if not more or not rows:
                return pairs, False
            if size >= RANGE_BYTES:
                return pairs, True
            last = rows[-1].key
            span = KeyRange(span.begin, last) if reverse else KeyRange(key_after(last), span.end)
            batch += 1

    def _range(self, tr: Any, span: KeyRange, limit: int, batch: int, *, reverse: bool) -> Any:
        """Return the future of one batch; the module's public ``get_range`` blocks its thread."""
        fdb = self._connected().fdb
        begin = fdb.KeySelector.first_greater_or_equal(span.begin)
        end = fdb.KeySelector.first_greater_or_equal(span.end)
        mode = fdb.StreamingMode.want_all
        return tr.snapshot._get_range(begin, end, limit, mode, batch, reverse)  # noqa: SLF001

    async def _commit_once(self, connection: Connection, commit: Commit) -> int:
        """Apply a commit unless an earlier sending of it has been applied."""
        marker = self._layout.marker(commit.key)
        blind = not commit.read_conflicts
        while True:
            tr = self._transaction(connection)
            tr.options.set_read_your_writes_disable()
            try:
                if not blind:
                    tr.set_read_version(commit.read_version)
                elif (known := (await settled(tr.snapshot.get(marker))).value) is not None:
                    return self._recalled(known)
                self._fill(tr, commit, marker)
                await settled(tr.commit())
            except connection.fdb.FDBError as error:
                if error.code not in {fdb_errors.TRANSACTION_TOO_OLD, fdb_errors.NOT_COMMITTED}:
                    raise
                known = await self._run(connection, None, lambda again: _get(again, marker))
                if known is not None:
                    return self._recalled(known)
                if not blind:
                    raise
                # Who has read nothing has no rival but itself: back off and look again.
                await settled(tr.on_error(error))
            else:
                return int(tr.get_committed_version())

    def _fill(self, tr: Any, commit: Commit, marker: bytes) -> None:
        for span in commit.read_conflicts:
            if span.begin < span.end:
                tr.add_read_conflict_range(*self._layout.span(span))
        tr.add_read_conflict_range(marker, key_after(marker))
        for span in commit.write_conflicts:
            if span.begin < span.end:
                tr.add_write_conflict_range(*self._layout.span(span))
        for kind, key, value in commit.mutations:
            if kind is MutationKind.CLEAR_RANGE:
                if key < value:
                    tr.clear_range(*self._layout.span(KeyRange(key, value)))
            elif kind is MutationKind.SET:
                tr.set(self._layout.key(key), value)
            else:
                # The module names its atomic operations as MutationKind does.
                getattr(tr, kind.name.lower())(self._layout.operand_key(kind, key), value)
        tr.set_versionstamped_value(marker, self._layout.marker_value())
        tr.set_versionstamped_key(self._layout.age_key(), commit.key)

    def _recalled(self, marker_value: bytes) -> int:
        self._counters.recalled += 1
        return self._layout.version_of(marker_value)

    def _count_failure(self, error: CoditectError) -> None:
        if error.code == "commit_conflict":
            self._counters.conflicts += 1
        elif error.code == "commit_unknown":
            self._counters.unknown += 1

    def _transaction(self, connection: Connection) -> Any:
        tr = connection.database.create_transaction()
        tr.options.set_timeout(max(1, round(self._timeout_seconds * 1000)))
        return tr

    def _connected(self) -> Connection:
        if self._connection is None:
            raise Unavailable("store", "closed")
        return self._connection

    @asynccontextmanager
    async def _call(
        self, translate: Callable[[int, str], CoditectError], seconds: float = 0.0
    ) -> AsyncIterator[Connection]:
        """Bound one call in time and in number, and speak of its failure in the engine's words.

        ``seconds``: how much longer than others it may take.
        """
        connection = self._connected()
        if self._counters.in_flight >= MAX_IN_FLIGHT:
            raise Busy("store calls", 1.0)
        self._counters.in_flight += 1
        try:
            async with asyncio.timeout(seconds + self._timeout_seconds + _GRACE_SECONDS):
                yield connection
        except connection.fdb.FDBError as error:
            raise translate(error.code, describe(error)) from error
        except TimeoutError as error:
            raise translate(fdb_errors.TRANSACTION_TIMED_OUT, "no answer in time") from error
        finally:
            self._counters.in_flight -= 1

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_seconds)
            try:
                while await self.sweep() == SWEEP_STEP:
                    pass
            except CoditectError as error:
                # Old markers only take room; the next round tries again.
                logger.warning("removing old commit keys: %s", error)


async def _get(tr: Any, key: bytes) -> bytes | None:
    value: bytes | None = (await settled(tr.snapshot.get(key))).value
    return value
