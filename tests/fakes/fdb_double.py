"""The part of the ``fdb`` module that the engine uses, over a cluster in memory.

Signatures and behaviour follow the Python binding's ``impl.py`` and the C client's
``ReadYourWrites.actor.cpp``, traps included:

* a commit that is the first call of a client answers 1021;
* an operation whose transaction nobody holds any more answers 1025;
* a read conflict on what the transaction has written is dropped, unless read-your-writes is off;
* a transaction without writes commits unchecked;
* what is too large to be written raises at commit.

Nothing blocks: waiting for a future that is not ready is an error of the test. ``schedule`` runs a
function soon, as the network thread does: ``loop.call_soon``, or a thread's queue.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tests.fakes.fdb_cluster import (
    CANCELLED,
    CLEAR_RANGE,
    COMMIT_UNKNOWN,
    FUTURE_VERSION,
    KEY_TOO_LARGE,
    MAX_KEY,
    MAX_TRANSACTION,
    MAX_VALUE,
    NOT_COMMITTED,
    PROCESS_BEHIND,
    SET,
    TIMED_OUT,
    TOO_OLD,
    TRANSACTION_TOO_LARGE,
    VALUE_TOO_LARGE,
    VERSIONSTAMPED_KEY,
    Cluster,
    Refused,
    Request,
)

Schedule = Callable[[Callable[[], None]], object]
OPERATION_CANCELLED = 1101
INVALID_OPERATION, INVERTED_RANGE, NETWORK_ALREADY_SETUP = 2000, 2005, 2009
READ_VERSION_ALREADY_SET, VERSION_INVALID, USED_DURING_COMMIT = 2010, 2011, 2017
RETRYABLE = {TOO_OLD, FUTURE_VERSION, NOT_COMMITTED, COMMIT_UNKNOWN, PROCESS_BEHIND}


class FDBError(Exception):
    """As the binding's: a code, and a description in bytes."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    @property
    def description(self) -> bytes:
        return b"error %d of the double" % self.code


class Future:
    """A result to come."""

    def __init__(self) -> None:
        self._ready = False
        self._result: Any = None
        self._error: FDBError | None = None
        self._callbacks: list[Callable[[Any], None]] = []

    def is_ready(self) -> bool:
        return self._ready

    def on_ready(self, callback: Callable[[Any], None]) -> None:
        if self._ready:
            callback(self)
        else:
            self._callbacks.append(callback)

    def cancel(self) -> None:
        self.settle(error=FDBError(OPERATION_CANCELLED))

    def wait(self) -> Any:
        assert self._ready, "waiting would block"
        if self._error is not None:
            raise self._error
        return self._result

    def settle(self, result: Any = None, error: FDBError | None = None) -> None:
        if self._ready:
            return
        self._ready, self._result, self._error = True, result, error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


class Value(Future):
    """The answer of ``get``: ``wait`` gives the future itself, ``value`` the bytes or None."""

    @property
    def value(self) -> bytes | None:
        return super().wait()

    def wait(self) -> Any:
        super().wait()
        return self


class KeySelector:
    """Only ``first_greater_or_equal`` is understood."""

    def __init__(self, key: bytes, or_equal: bool, offset: int) -> None:
        assert (or_equal, offset) == (False, 1), "not modelled"
        self.key = key

    @classmethod
    def first_greater_or_equal(cls, key: bytes) -> KeySelector:
        return cls(key, or_equal=False, offset=1)


class _Options:
    """Options of a transaction; refers to it weakly, as the binding's does."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = weakref.proxy(transaction)

    def set_timeout(self, milliseconds: int) -> None:
        self._transaction.timeout = milliseconds / 1000

    def set_read_your_writes_disable(self) -> None:
        if self._transaction.used:
            self._transaction.defer(INVALID_OPERATION)
        self._transaction.read_your_writes = False


class _Snapshot:
    """Reads that do not conflict."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = weakref.proxy(transaction)

    def get(self, key: bytes) -> Value:
        self._transaction.about_to_read()
        return self._transaction.start(Value(), lambda tr: tr.cluster.get(key, tr.version()))

    def _get_range(
        self,
        begin: KeySelector,
        end: KeySelector,
        limit: int,
        streaming_mode: int,
        iteration: int,
        reverse: bool,
    ) -> Future:
        assert iteration > 0
        # A batch is cut short, so that callers must ask for the next one.
        cut = min(limit, 7) if streaming_mode == StreamingMode.want_all and limit else limit

        def read(tr: Transaction) -> Any:
            pairs, more = tr.cluster.get_range(
                begin.key, end.key, tr.version(), cut, reverse=reverse
            )
            rows = [SimpleNamespace(key=key, value=value) for key, value in pairs]
            return rows, len(rows), more

        if begin.key > end.key:
            self._transaction.defer(INVERTED_RANGE)
        return self._transaction.start(Future(), read)


class Transaction:
    """See the binding's ``Transaction``."""

    def __init__(self, database: Database) -> None:
        self.cluster = database.cluster
        self.timeout: float | None = None
        self._database = database
        self._born = self.cluster.now()
        self.options = _Options(self)
        self.snapshot = _Snapshot(self)
        self._committed_version = -1
        self.reset()

    def reset(self) -> None:
        self.request = Request(0)
        self.read_your_writes = True
        self.used = False
        self._read_version: int | None = None
        self._deferred: int | None = None
        self._committing = False
        self._written: list[tuple[bytes, bytes]] = []
        self._watches: list[tuple[bytes, Future]] = []

    def set_read_version(self, version: int) -> None:
        if version <= 0:
            self.defer(VERSION_INVALID)
        elif self._read_version is not None:
            self.defer(READ_VERSION_ALREADY_SET)
        else:
            self._read_version = version

    def get_read_version(self) -> Future:
        return self.start(Future(), lambda tr: tr.version())

    def get(self, key: bytes) -> Value:
        self.add_read_conflict_range(key, key + b"\x00")
        return self.snapshot.get(key)

    def add_read_conflict_range(self, begin: bytes, end: bytes) -> None:
        if begin > end:
            raise FDBError(INVERTED_RANGE)
        self._touch()
        own = any(b <= begin and end <= e for b, e in self._written)
        if not (own and self.read_your_writes):
            self.request.reads.append((begin, end))

    def add_read_conflict_key(self, key: bytes) -> None:
        self.add_read_conflict_range(key, key + b"\x00")

    def add_write_conflict_range(self, begin: bytes, end: bytes) -> None:
        if begin > end:
            raise FDBError(INVERTED_RANGE)
        self._touch()
        self.request.writes.append((begin, end))

    def watch(self, key: bytes) -> Future:
        """Watched from the commit on; a reset before it ends in 1025, as the end of the transaction does."""
        self._touch()
        self._watches.append((key, Future()))
        return self._watches[-1][1]

    def set(self, key: bytes, value: bytes) -> None:
        self._mutate(SET, key, value)

    def clear(self, key: bytes) -> None:
        self.clear_range(key, key + b"\x00")

    def clear_range(self, begin: bytes, end: bytes) -> None:
        if begin > end:
            self.defer(INVERTED_RANGE)
        self._touch()
        self.request.mutations.append((CLEAR_RANGE, begin, end))
        self._write(begin, end)

    def commit(self) -> Future:
        self._touch()
        self._committing = True
        return self.start(Future(), Transaction._commit_now)

    def get_committed_version(self) -> int:
        return self._committed_version

    def on_error(self, error: FDBError | int) -> Future:
        code = error.code if isinstance(error, FDBError) else error
        future = Future()
        if code in RETRYABLE:
            self.reset()
            return self.start(future, lambda _: None)
        future.settle(error=FDBError(code))
        return future

    def defer(self, code: int) -> None:
        """Raise it with the next operation: the binding's mutations return nothing."""
        self._deferred = self._deferred or code

    def start(self, future: Any, work: Callable[[Transaction], Any]) -> Any:
        """Have the network thread work; it holds the transaction only weakly."""
        mine = weakref.ref(self)

        def run() -> None:
            transaction = mine()
            if transaction is None:
                future.settle(error=FDBError(CANCELLED))
                return
            try:
                future.settle(transaction._work(work))
            except Refused as refused:
                future.settle(error=FDBError(refused.code))

        self.used = True
        self._database.schedule(run)
        return future

    def version(self) -> int:
        """The read version, asked for when it is first needed."""
        self._database.warm = True
        if self._read_version is None:
            self._read_version = self.cluster.version()
        return self._read_version

    def _work(self, work: Callable[[Transaction], Any]) -> Any:
        if self._deferred is not None:
            raise Refused(self._deferred)
        if self.timeout is not None and self.cluster.now() - self._born > self.timeout:
            raise Refused(TIMED_OUT)
        return work(self)

    def _commit_now(self) -> None:
        if not self._database.warm:
            raise Refused(COMMIT_UNKNOWN)
        for key, changed in self._watches:
            self.cluster.watch(key, self.version(), changed.settle)
        if not self.request.mutations and not self.request.writes:
            return
        if self.request.size() > MAX_TRANSACTION:
            raise Refused(TRANSACTION_TOO_LARGE)
        self.request.read_version = self.version()
        self._committed_version = self.cluster.commit(self.request)

    def _mutate(self, kind: int, key: bytes, operand: bytes) -> None:
        assert isinstance(key, bytes)
        assert isinstance(operand, bytes)
        self._touch()
        if len(key) > MAX_KEY:
            self.defer(KEY_TOO_LARGE)
        elif len(operand) > MAX_VALUE:
            self.defer(VALUE_TOO_LARGE)
        self.request.mutations.append((kind, key, operand))
        if kind == VERSIONSTAMPED_KEY:
            offset = int.from_bytes(key[-4:], "little")
            self.request.writes.append((key[:offset], key[:offset] + b"\xff" * 11))
        else:
            self._write(key, key + b"\x00")

    def _write(self, begin: bytes, end: bytes) -> None:
        self._written.append((begin, end))
        self.request.writes.append((begin, end))

    def about_to_read(self) -> None:
        if self._committing:
            self.defer(USED_DURING_COMMIT)
        else:
            assert not (self.read_your_writes and self.request.mutations), "not modelled"

    def _touch(self) -> None:
        self.used = True
        if self._committing:
            raise FDBError(USED_DURING_COMMIT)


def _operation(kind: int) -> Callable[[Transaction, bytes, bytes], None]:
    return lambda self, key, param: self._mutate(kind, key, param)


for _name, _kind in {
    "add": 2,
    "bit_and": 6,
    "bit_or": 7,
    "bit_xor": 8,
    "append_if_fits": 9,
    "max": 12,
    "min": 13,
    "set_versionstamped_key": 14,
    "set_versionstamped_value": 15,
    "byte_min": 16,
    "byte_max": 17,
    "compare_and_clear": 20,
}.items():
    setattr(Transaction, _name, _operation(_kind))


class Database:
    """A client's open database. ``warm`` once it has had an answer from the cluster."""

    def __init__(self, cluster: Cluster, schedule: Schedule) -> None:
        self.cluster = cluster
        self.schedule = schedule
        self.warm = False

    def create_transaction(self) -> Transaction:
        return Transaction(self)


class StreamingMode:
    """The numbers of ``fdboptions.StreamingMode``."""

    want_all = -2
    exact = 0


class _NetworkOptions:
    """Remembers what was set; nothing can be once the network runs."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.closed = False

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("set_tls_"):
            raise AttributeError(name)

        def set_option(value: Any = None) -> None:
            if self.closed:
                raise FDBError(NETWORK_ALREADY_SETUP)
            self.values[name.removeprefix("set_")] = value

        return set_option


class FdbDouble:
    """The module. One is one client process."""

    LATEST_API_VERSION = 740
    __version__ = "7.4.8"
    FDBError = FDBError
    KeySelector = KeySelector
    StreamingMode = StreamingMode

    def __init__(self, cluster: Cluster, schedule: Schedule) -> None:
        self._cluster = cluster
        self._schedule = schedule
        self.options = _NetworkOptions()
        self.selected: int | None = None
        self.opened: list[str | None] = []

    def api_version(self, version: int) -> None:
        if self.selected not in {None, version}:
            raise RuntimeError(f"FDB API already loaded at version {self.selected}")
        if version > self.LATEST_API_VERSION:
            raise RuntimeError(f"Latest known FDB API version is {self.LATEST_API_VERSION}")
        self.selected = version

    def open(self, cluster_file: str | None = None) -> Database:
        self.options.closed = True
        self.opened.append(cluster_file)
        return Database(self._cluster, self._schedule)
