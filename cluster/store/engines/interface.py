"""The interface of store engines: an ordered map of bytes, snapshot reads, optimistic commits.

The shape is FoundationDB's (developer guide, "Transactions"): a transaction reads at one version,
collects mutations and the ranges it has read, and commits all at once; the commit fails when
another one has written into those ranges since. An engine keeps no state for a transaction, so a
fresh native transaction with ``set_read_version`` and added conflict ranges is one, too.

Keys are ordered as unsigned bytes. Limits are FoundationDB's: ``MAX_VALUE``, ``MAX_TRANSACTION``
bytes, ``MAX_AGE_SECONDS`` between read version and commit; and ``MAX_KEY``, which is LMDB's, for
both, so that what one engine takes the other does, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from actors.core.errors.requests import InvalidArgument
from actors.core.errors.store import KeyTooLarge, TransactionTooLarge, ValueTooLarge

MAX_KEY = 511
MAX_COMMIT_KEY = 256
MAX_VALUE = 100_000
MAX_TRANSACTION = 10_000_000
MAX_AGE_SECONDS = 5.0
RANGE_BYTES = 4 << 20
"""A range's answer ends with the pair that reaches this."""

VERSIONSTAMP_BYTES = 10
OFFSET_BYTES = 4
"""The last bytes of an operand, little-endian, are the offset of its versionstamp."""


class MutationKind(IntEnum):
    """Kinds of mutations; the numbers of the atomic ones are FoundationDB's ``MutationType``."""

    SET = 0
    CLEAR_RANGE = 1
    ADD = 2
    BIT_AND = 6
    BIT_OR = 7
    BIT_XOR = 8
    APPEND_IF_FITS = 9
    MAX = 12
    MIN = 13
    SET_VERSIONSTAMPED_KEY = 14
    SET_VERSIONSTAMPED_VALUE = 15
    BYTE_MIN = 16
    BYTE_MAX = 17
    COMPARE_AND_CLEAR = 20


class Mutation(NamedTuple):
    """One change. For CLEAR_RANGE ``key`` is the begin and ``value`` the (exclusive) end."""

    kind: MutationKind
    key: bytes
    value: bytes


class KeyRange(NamedTuple):
    """All keys ``begin <= key < end``."""

    begin: bytes
    end: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """All that a transaction wants done at once.

    ``key`` makes it safe to send again: a commit with the same key is applied once.
    ``write_conflicts`` are ranges that count as written beside those of the mutations.
    """

    read_version: int
    read_conflicts: tuple[KeyRange, ...]
    mutations: tuple[Mutation, ...]
    key: bytes
    write_conflicts: tuple[KeyRange, ...] = ()

    def check_limits(self) -> None:
        """Raise TransactionTooLarge, KeyTooLarge, ValueTooLarge or, when malformed, InvalidArgument.

        Sizes are counted as FoundationDB counts them: mutations, and conflict ranges, of which
        each mutation has one. A cleared range has no longest key: nothing that long is there.
        """
        if not self.key:
            raise InvalidArgument("commit key", "must not be empty")
        if len(self.key) > MAX_COMMIT_KEY:
            raise KeyTooLarge
        size = sum(len(r.begin) + len(r.end) for r in self.read_conflicts + self.write_conflicts)
        for mutation in self.mutations:
            kind, key, value = mutation
            if kind is MutationKind.CLEAR_RANGE:
                size += 2 * (len(key) + len(value))
                continue
            size += 3 * len(key) + 1 + len(value)
            if len(key) > MAX_KEY:
                raise KeyTooLarge
            if len(value) > MAX_VALUE:
                raise ValueTooLarge
            _check_form(mutation)
        if size > MAX_TRANSACTION:
            raise TransactionTooLarge


def _check_form(mutation: Mutation) -> None:
    """Refuse what no engine can carry out."""
    kind, key, value = mutation
    if not key:
        raise InvalidArgument("key", "must not be empty")
    if kind not in {MutationKind.SET_VERSIONSTAMPED_KEY, MutationKind.SET_VERSIONSTAMPED_VALUE}:
        return
    operand = key if kind is MutationKind.SET_VERSIONSTAMPED_KEY else value
    offset = int.from_bytes(operand[-OFFSET_BYTES:], "little")
    if len(operand) < OFFSET_BYTES + VERSIONSTAMP_BYTES + offset:
        raise InvalidArgument("versionstamp", "its offset must leave room for ten bytes and itself")


class Values(NamedTuple):
    """Answers of ``get_many``, in the order of the keys, and the version they were read at."""

    version: int
    values: list[bytes | None]


class Pairs(NamedTuple):
    """Answer of ``get_range`` and its version; ``more`` when ``limit`` or ``RANGE_BYTES`` cut it."""

    version: int
    pairs: list[tuple[bytes, bytes]]
    more: bool


class Engine(Protocol):
    """An engine. ``read_version=None`` reads at the newest version and says which that was.

    Every acknowledged commit is durable, and visible to each read that begins afterwards.
    """

    async def get_many(self, keys: Sequence[bytes], read_version: int | None) -> Values:
        """Read some keys at one version. Raises TransactionTooOld, Unavailable."""
        ...

    async def get_range(
        self, span: KeyRange, read_version: int | None, *, limit: int, reverse: bool
    ) -> Pairs:
        """Read at most ``limit`` pairs of a range, from its end when ``reverse``; fewer when large."""
        ...

    async def commit(self, commit: Commit) -> int:
        """Apply durably and return the commit version.

        Raises CommitConflict, TransactionTooOld, CommitUnknown (send the very same commit again),
        the errors of ``check_limits``, StoreFull (nothing was written), StoreFailed (the engine has stopped).
        """
        ...

    async def watch(self, key: bytes, seen: bytes | None, seconds: float) -> None:
        """Return when the value of ``key`` is not ``seen`` any more, at the latest after ``seconds``.

        It says nothing of the value: read it. A value that comes and goes meanwhile may be missed.
        Raises Unavailable, Busy when there are too many of these.
        """
        ...


class OpenableEngine(Engine, Protocol):
    """An engine with a beginning and an end."""

    async def open(self) -> None:
        """Make it ready. Raises Unavailable."""

    async def close(self) -> None:
        """Let go of everything."""

    async def statistics(self) -> dict[str, Any]:
        """Return counters and gauges."""
        ...


def key_after(key: bytes) -> bytes:
    """Return the first key after ``key``."""
    return key + b"\x00"


def strip_prefix_end(prefix: bytes) -> bytes:
    """Return the first key that does not begin with ``prefix`` (FoundationDB's ``strinc``)."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        raise ValueError("a prefix needs a byte other than 0xff")
    return stripped[:-1] + bytes([stripped[-1] + 1])


def prefix_range(prefix: bytes) -> KeyRange:
    """Return the range of all keys that begin with ``prefix``."""
    return KeyRange(prefix, strip_prefix_end(prefix))
