"""A FoundationDB cluster in memory: versions, snapshots, conflicts, limits, and faults by seed.

Written from FoundationDB's documentation ("Developer Guide", "Known Limitations", "Error Codes",
"API reference: MutationType") and for ``fdb_double``, which shows it as the ``fdb`` module does.
Faults keep what the real cluster guarantees: an injected conflict is a rival's write, an injected
old age is a jump of the cluster's version, and what timed out may still be applied later, subject
to the same checks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto

from sortedcontainers import SortedDict

TOO_OLD, FUTURE_VERSION, PROCESS_BEHIND = 1007, 1009, 1037
NOT_COMMITTED, COMMIT_UNKNOWN, CANCELLED, TIMED_OUT = 1020, 1021, 1025, 1031
TRANSACTION_TOO_LARGE, KEY_TOO_LARGE, VALUE_TOO_LARGE = 2101, 2102, 2103

WINDOW = 5_000_000
FIRST_VERSION = 10_000_000_000
MAX_KEY, MAX_VALUE, MAX_TRANSACTION = 10_000, 100_000, 10_000_000

SET, CLEAR_RANGE, VERSIONSTAMPED_KEY, VERSIONSTAMPED_VALUE = 0, 1, 14, 15

Span = tuple[bytes, bytes]


class Refused(Exception):
    """An error that the cluster answers instead of a result."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Request:
    """The commit request of a client."""

    read_version: int
    reads: list[Span] = field(default_factory=list)
    writes: list[Span] = field(default_factory=list)
    mutations: list[tuple[int, bytes, bytes]] = field(default_factory=list)

    def size(self) -> int:
        ranges = sum(len(b) + len(e) for b, e in [*self.reads, *self.writes])
        return ranges + sum(len(k) + len(v) for _, k, v in self.mutations)


class Fault(StrEnum):
    """The fault of a commit."""

    TOO_OLD = auto()
    CONFLICT = auto()
    UNKNOWN_COMMITTED = auto()
    UNKNOWN_LOST = auto()
    TIMED_OUT_COMMITTED = auto()
    TIMED_OUT_LOST = auto()
    TIMED_OUT_LATER = auto()


class Faults:
    """A sequence of faults from a seed; ``commit_rate`` and ``read_rate`` are probabilities."""

    def __init__(self, seed: int, *, commit_rate: float = 0.0, read_rate: float = 0.0) -> None:
        self._random = random.Random(seed)
        self._commit_rate = commit_rate
        self._read_rate = read_rate
        self.next_commits: list[Fault | None] = []
        self.injected: dict[str, int] = {}

    def stop(self) -> None:
        """From now on nothing fails."""
        self._commit_rate = self._read_rate = 0.0

    def of_commit(self) -> Fault | None:
        fault = None
        if self.next_commits:
            fault = self.next_commits.pop(0)
        elif self._random.random() < self._commit_rate:
            fault = self._random.choice(list(Fault))
        if fault is not None:
            self.injected[fault.value] = self.injected.get(fault.value, 0) + 1
        return fault

    def of_read(self) -> int | None:
        if self._random.random() >= self._read_rate:
            return None
        return self._random.choice([TOO_OLD, FUTURE_VERSION, PROCESS_BEHIND])

    def delay(self) -> int:
        """After how many more operations a late commit arrives."""
        return self._random.randint(1, 30)


class Cluster:
    """The whole cluster; ``clock`` gives seconds and moves the version, a million a second."""

    def __init__(self, clock: Callable[[], float], faults: Faults | None = None) -> None:
        self.faults = faults or Faults(0)
        self._clock = clock
        self._began = clock()
        self._jumped = 0
        self._version = FIRST_VERSION
        self._values: SortedDict[bytes, list[tuple[int, bytes | None]]] = SortedDict()
        self._log: list[tuple[int, list[Span]]] = []
        self._late: list[tuple[int, Request]] = []
        self._watches: list[tuple[bytes, bytes | None, Callable[[], None]]] = []
        self._operations = 0

    def now(self) -> float:
        return self._clock()

    def version(self) -> int:
        """The newest version, as a get-read-version request answers it."""
        elapsed = int((self._clock() - self._began) * 1_000_000)
        self._version = max(self._version, FIRST_VERSION + self._jumped + elapsed)
        return self._version

    def jump(self, versions: int) -> None:
        """Move the version as a recovery does."""
        self._jumped += versions
        self.version()

    def get(self, key: bytes, version: int) -> bytes | None:
        self._check_readable(version)
        return self._at(key, version)

    def get_range(
        self, begin: bytes, end: bytes, version: int, limit: int, *, reverse: bool
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        """At most ``limit`` pairs, and whether it stopped because of that."""
        self._check_readable(version)
        found: list[tuple[bytes, bytes]] = []
        for key in self._values.irange(begin, end, inclusive=(True, False), reverse=reverse):
            value = self._at(key, version)
            if value is not None:
                found.append((key, value))
            if limit and len(found) == limit:
                return found, True
        return found, False

    def commit(self, request: Request) -> int:
        """Apply and return the version, or raise Refused."""
        self._arrive_late()
        fault = self.faults.of_commit()
        if fault is Fault.TOO_OLD:
            self.jump(WINDOW + 1)
        elif fault is Fault.CONFLICT and request.reads:
            self._version = self.version() + 1
            self._log.append((self._version, [request.reads[0]]))
        elif fault in {Fault.UNKNOWN_LOST, Fault.TIMED_OUT_LOST, Fault.TIMED_OUT_LATER}:
            if fault is Fault.TIMED_OUT_LATER:
                self._late.append((self._operations + self.faults.delay(), request))
            raise Refused(COMMIT_UNKNOWN if fault is Fault.UNKNOWN_LOST else TIMED_OUT)
        version = self._apply(request)
        if fault is Fault.UNKNOWN_COMMITTED:
            raise Refused(COMMIT_UNKNOWN)
        if fault is Fault.TIMED_OUT_COMMITTED:
            raise Refused(TIMED_OUT)
        return version

    def watch(self, key: bytes, version: int, changed: Callable[[], None]) -> None:
        """Call ``changed`` when a key's value is not what it was at ``version``."""
        self._watches.append((key, self._at(key, version), changed))
        self._notify()

    def settle(self) -> None:
        """Let everything that is still under way arrive."""
        late, self._late = self._late, []
        for _, request in late:
            self._apply_late(request)

    def _check_readable(self, version: int) -> None:
        self._arrive_late()
        code = self.faults.of_read()
        if code is not None:
            raise Refused(code)
        if version > self.version():
            raise Refused(FUTURE_VERSION)
        if version < self._version - WINDOW:
            raise Refused(TOO_OLD)

    def _arrive_late(self) -> None:
        self._operations += 1
        due = [request for when, request in self._late if when <= self._operations]
        self._late = [entry for entry in self._late if entry[0] > self._operations]
        for request in due:
            self._apply_late(request)

    def _apply_late(self, request: Request) -> None:
        try:
            self._apply(request)
        except Refused:
            return

    def _apply(self, request: Request) -> int:
        newest = self.version()
        if request.reads:
            if request.read_version < newest - WINDOW:
                raise Refused(TOO_OLD)
            for version, spans in self._log:
                if version > request.read_version and _overlap(spans, request.reads):
                    raise Refused(NOT_COMMITTED)
        self._version = newest + 1
        stamp = self._version.to_bytes(8, "big") + b"\x00\x00"
        for kind, key, operand in request.mutations:
            self._mutate(kind, key, operand, stamp)
        self._log.append((self._version, list(request.writes)))
        self._log = [entry for entry in self._log if entry[0] >= self._version - WINDOW]
        self._notify()
        return self._version

    def _notify(self) -> None:
        due = [w for w in self._watches if self._at(w[0], self._version) != w[1]]
        self._watches = [w for w in self._watches if w not in due]
        for _, _, changed in due:
            changed()

    def _mutate(self, kind: int, key: bytes, operand: bytes, stamp: bytes) -> None:
        if kind == CLEAR_RANGE:
            for inside in list(self._values.irange(key, operand, inclusive=(True, False))):
                self._put(inside, None)
        elif kind == VERSIONSTAMPED_KEY:
            self._put(_stamped(key, stamp), operand)
        elif kind == VERSIONSTAMPED_VALUE:
            self._put(key, _stamped(operand, stamp))
        else:
            self._put(key, OPERATIONS[kind](self._at(key, self._version), operand))

    def _put(self, key: bytes, value: bytes | None) -> None:
        history = self._values.setdefault(key, [])
        if history and history[-1][0] == self._version:
            history.pop()
        history.append((self._version, value))
        while len(history) > 1 and history[1][0] <= self._version - WINDOW:
            history.pop(0)

    def _at(self, key: bytes, version: int) -> bytes | None:
        for written, value in reversed(self._values.get(key, ())):
            if written <= version:
                return value
        return None


def _overlap(left: Sequence[Span], right: Sequence[Span]) -> bool:
    return any(max(a, c) < min(b, d) for a, b in left for c, d in right)


def _stamped(data: bytes, stamp: bytes) -> bytes:
    offset = int.from_bytes(data[-4:], "little")
    return data[:offset] + stamp + data[offset + 10 : -4]


def _little(operate: Callable[[int, int], int]) -> Callable[[bytes | None, bytes], bytes]:
    """Little-endian, in the operand's width; an absent value counts as zero."""

    def apply(old: bytes | None, operand: bytes) -> bytes:
        width = len(operand)
        left = int.from_bytes((old or b"")[:width].ljust(width, b"\x00"), "little")
        result = operate(left, int.from_bytes(operand, "little"))
        return (result & ((1 << 8 * width) - 1)).to_bytes(width, "little")

    return apply


def _or_operand(
    operate: Callable[[bytes | None, bytes], bytes],
) -> Callable[[bytes | None, bytes], bytes]:
    """The operand where there is no value."""
    return lambda old, operand: operand if old is None else operate(old, operand)


def _append(old: bytes | None, operand: bytes) -> bytes:
    joined = (old or b"") + operand
    return joined if len(joined) <= MAX_VALUE else (old or b"")


OPERATIONS: dict[int, Callable[[bytes | None, bytes], bytes | None]] = {
    SET: lambda _, operand: operand,
    2: _little(lambda a, b: a + b),
    6: _or_operand(_little(lambda a, b: a & b)),
    7: _little(lambda a, b: a | b),
    8: _little(lambda a, b: a ^ b),
    9: _append,
    12: _little(max),
    13: _or_operand(_little(min)),
    16: _or_operand(lambda old, operand: min(old or b"", operand)),
    17: _or_operand(lambda old, operand: max(old or b"", operand)),
    20: lambda old, operand: None if old == operand else old,
}
