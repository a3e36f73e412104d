"""A model of FoundationDB's documented transactions, over plain dictionaries.

Each transaction works on a copy of the data as it was at its read version, with its own writes
applied at once; what it wrote is applied anew to the newest data when it commits. Only the atomic
operations are shared with the double of the cluster; nothing is shared with the store.
"""

from __future__ import annotations

from tests.binding.stack_machine import Pairs, Refused, Selector
from tests.fakes.fdb_cluster import OPERATIONS

LAST_KEY = b"\xff"
TOO_OLD, CONFLICT, CANCELLED = 1007, 1020, 1025
READ_VERSION_ALREADY_SET, TOO_LARGE, KEY_TOO_LARGE, VALUE_TOO_LARGE = 2010, 2101, 2102, 2103
RETRYABLE = {TOO_OLD, 1009, CONFLICT, 1021, 1037}
MAX_KEY, MAX_VALUE, MAX_TRANSACTION = 511, 100_000, 10_000_000
NUMBERS = {
    "ADD": 2,
    "BIT_AND": 6,
    "BIT_OR": 7,
    "BIT_XOR": 8,
    "APPEND_IF_FITS": 9,
    "MAX": 12,
    "MIN": 13,
    "BYTE_MIN": 16,
    "BYTE_MAX": 17,
    "COMPARE_AND_CLEAR": 20,
}
Span = tuple[bytes, bytes]
Write = tuple[str, bytes, bytes]


class ModelDatabase:
    """All versions of the data, and what each commit wrote."""

    def __init__(self) -> None:
        self.versions: list[dict[bytes, bytes]] = [{}]
        self.written: list[list[Span]] = [[]]

    def transaction(self) -> ModelOperations:
        return ModelOperations(self)

    @property
    def newest(self) -> int:
        return len(self.versions) - 1

    def apply(self, writes: list[Write], ranges: list[Span]) -> int:
        """Commit; versions are small numbers and stamp keys as the store's do."""
        data = dict(self.versions[-1])
        version = len(self.versions)
        stamp = version.to_bytes(8, "big") + b"\x00\x00"
        touched = list(ranges)
        for name, key, operand in writes:
            if name == "SET_VERSIONSTAMPED_KEY":
                offset = int.from_bytes(key[-4:], "little")
                stamped = key[:offset] + stamp + key[offset + 10 : -4]
                data[stamped] = operand
                touched.append((stamped, stamped + b"\x00"))
            elif name == "SET_VERSIONSTAMPED_VALUE":
                offset = int.from_bytes(operand[-4:], "little")
                data[key] = operand[:offset] + stamp + operand[offset + 10 : -4]
                touched.append((key, key + b"\x00"))
            else:
                touched.append(_write(data, name, key, operand))
        self.versions.append(data)
        self.written.append(touched)
        return version


class ModelOperations:
    """One transaction; see ``stack_machine.Operations``."""

    def __init__(self, database: ModelDatabase) -> None:
        self._database = database
        self._committed = -1
        self.reset()

    def reset(self) -> None:
        self._version: int | None = None
        self._view: dict[bytes, bytes] | None = None
        self._writes: list[Write] = []
        self._own: list[Span] = []
        self._read: list[Span] = []
        self._written: list[Span] = []
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    async def get(self, key: bytes, *, snapshot: bool) -> bytes | None:
        self._check()
        decided = any(begin <= key < end for begin, end in self._own)
        view = self._own_view() if decided else self._seen()
        self._note_read((key, key + b"\x00"), snapshot=snapshot)
        return view.get(key)

    async def get_key(self, selector: Selector, *, snapshot: bool) -> bytes:
        view = self._seen()
        keys = sorted(view)
        edge = selector.key + b"\x00" if selector.or_equal else selector.key
        below = sum(key < edge for key in keys)
        index = below - 1 + selector.offset
        found = b"" if index < 0 else LAST_KEY if index >= len(keys) else keys[index]
        if selector.offset > 0:
            span = (edge, LAST_KEY if found == LAST_KEY else found + b"\x00")
        else:
            span = (found, edge)
        self._note_read(span, snapshot=snapshot)
        return found

    async def get_range(
        self, begin: bytes, end: bytes, limit: int, *, reverse: bool, snapshot: bool
    ) -> Pairs:
        self._check()
        if begin >= end:
            return []
        view = self._seen()
        pairs = sorted(
            ((key, value) for key, value in view.items() if begin <= key < end), reverse=reverse
        )
        seen = (begin, end)
        if limit and len(pairs) >= limit:
            pairs = pairs[:limit]
            last = pairs[-1][0]
            seen = (last, end) if reverse else (begin, last + b"\x00")
        self._note_read(seen, snapshot=snapshot)
        return pairs

    async def get_read_version(self) -> int:
        self._check()
        if self._version is None:
            self._version = self._database.newest
        return self._version

    def set_read_version(self, version: int) -> None:
        self._check()
        if self._version is not None:
            raise Refused(READ_VERSION_ALREADY_SET)
        self._version = version

    def set(self, key: bytes, value: bytes) -> None:
        self._add("SET", key, value)

    def clear_range(self, begin: bytes, end: bytes) -> None:
        self._add("CLEAR_RANGE", begin, end)

    def atomic(self, name: str, key: bytes, operand: bytes) -> None:
        self._add(name, key, operand)

    def add_read_conflict(self, begin: bytes, end: bytes) -> None:
        self._check()
        self._read.append((begin, end))

    def add_write_conflict(self, begin: bytes, end: bytes) -> None:
        self._check()
        self._written.append((begin, end))

    async def commit(self) -> None:
        self._check()
        self._committed = -1
        if not self._writes and not self._written:
            return
        self._check_limits()
        if self._read:
            since = await self.get_read_version() + 1
            for ranges in self._database.written[since:]:
                if _overlap(self._read, ranges):
                    raise Refused(CONFLICT)
        self._committed = self._database.apply(self._writes, self._written)

    def committed_version(self) -> int:
        return self._committed

    async def on_error(self, code: int) -> None:
        if code not in RETRYABLE:
            raise Refused(code)
        self.reset()

    def _check(self) -> None:
        if self._cancelled:
            raise Refused(CANCELLED)

    def _check_limits(self) -> None:
        size = sum(len(begin) + len(end) for begin, end in self._read)
        for name, key, operand in self._writes:
            size += len(key) + len(operand)
            if name == "CLEAR_RANGE":
                continue
            if len(key) > MAX_KEY:
                raise Refused(KEY_TOO_LARGE)
            if len(operand) > MAX_VALUE:
                raise Refused(VALUE_TOO_LARGE)
        if size > MAX_TRANSACTION:
            raise Refused(TOO_LARGE)

    def _seen(self) -> dict[bytes, bytes]:
        self._check()
        if self._view is None:
            if self._version is None:
                self._version = self._database.newest
            self._view = dict(self._database.versions[self._version])
            for write in self._writes:
                _apply_own(self._view, write)
        return self._view

    def _own_view(self) -> dict[bytes, bytes]:
        """The answer of own writes alone, which begins no read."""
        view: dict[bytes, bytes] = {}
        for write in self._writes:
            _apply_own(view, write)
        return view

    def _add(self, name: str, key: bytes, operand: bytes) -> None:
        self._check()
        write = (name, key, operand)
        self._writes.append(write)
        if self._view is not None:
            _apply_own(self._view, write)
        if name == "SET":
            self._own.append((key, key + b"\x00"))
        elif name == "CLEAR_RANGE":
            self._own.append((key, operand))

    def _note_read(self, span: Span, *, snapshot: bool) -> None:
        """Conflict with what others may write there, and not where only own writes were seen."""
        if not snapshot:
            self._read.extend(_without(span, self._own))


def _apply_own(view: dict[bytes, bytes], write: Write) -> None:
    """A read of what the commit will stamp, which cannot be seen before it."""
    if not write[0].startswith("SET_VERSIONSTAMPED"):
        _write(view, *write)


def _write(data: dict[bytes, bytes], name: str, key: bytes, operand: bytes) -> Span:
    if name == "SET":
        data[key] = operand
        return key, key + b"\x00"
    if name == "CLEAR_RANGE":
        for inside in [each for each in data if key <= each < operand]:
            del data[inside]
        return key, operand
    result = OPERATIONS[NUMBERS[name]](data.get(key), operand)
    data.pop(key, None)
    if result is not None:
        data[key] = result
    return key, key + b"\x00"


def _without(span: Span, holes: list[Span]) -> list[Span]:
    """Return what is left of a range."""
    left = [span]
    for begin, end in holes:
        cut: list[Span] = []
        for low, high in left:
            cut += [(low, min(high, begin)), (max(low, end), high)]
        left = [(low, high) for low, high in cut if low < high]
    return left


def _overlap(left: list[Span], right: list[Span]) -> bool:
    return any(max(a, c) < min(b, d) for a, b in left for c, d in right)
