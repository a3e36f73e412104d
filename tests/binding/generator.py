"""Random programs for the stack machine, by seed."""

from __future__ import annotations

import random
import struct
import uuid
from collections.abc import Callable
from typing import Any

import fdb.tuple

Instruction = tuple[Any, ...]

ATOMIC = (
    "ADD",
    "BIT_AND",
    "BIT_OR",
    "BIT_XOR",
    "APPEND_IF_FITS",
    "MAX",
    "MIN",
    "BYTE_MIN",
    "BYTE_MAX",
    "COMPARE_AND_CLEAR",
)
_TAILS = (b"", b"\x00", b"\x00\x00", b"\xff", b"a", b"a\x00", b"ab", b"b", b"\x7f", b"\x80")
_MAX_STACK = 40
_HOLE = b"\xff" * 10


class Generator:
    """Makes one program that works below ``area``: data, stamped keys and the logged stack."""

    def __init__(self, seed: int, area: bytes) -> None:
        self._random = random.Random(seed)
        self._data = area + b"d"
        self._stamped = area + b"s"
        self._log = area + b"l"
        self._logs = 0
        self._depth = 0
        self._program: list[Instruction] = []

    def program(self, instructions: int) -> list[Instruction]:
        """Return about that many instructions; the last of them log the stack."""
        makers = self._makers()
        choices, weights = list(makers), list(makers.values())
        while len(self._program) < instructions:
            self._random.choices(choices, weights)[0]()
            if self._depth > _MAX_STACK:
                self._log_stack()
        self._log_stack()
        return self._program

    def _makers(self) -> dict[Callable[[], None], int]:
        return {
            self._get: 12,
            self._get_key: 8,
            self._get_range: 8,
            self._get_range_starts_with: 4,
            self._get_range_selector: 5,
            self._set: 12,
            self._clear: 4,
            self._clear_range: 3,
            self._clear_starts_with: 1,
            self._atomic: 12,
            self._stamp: 2,
            self._conflict_key: 3,
            self._conflict_range: 3,
            self._use: 10,
            self._commit: 10,
            self._race: 4,
            self._versions: 3,
            self._fail: 2,
            self._reset: 2,
            self._tuples: 4,
            self._shuffle: 3,
            self._oversize: 1,
        }

    # Operands

    def _push(self, *operands: Any) -> None:
        """Push so that the first is popped first."""
        self._program.extend(("PUSH", operand) for operand in reversed(operands))

    def _do(self, name: str, *operands: Any, pushes: int = 0) -> None:
        self._push(*operands)
        self._program.append((name,))
        self._depth += pushes

    def _key(self) -> bytes:
        return self._data + self._random.choice(_TAILS) + self._random.choice(_TAILS)

    def _span(self) -> tuple[bytes, bytes]:
        first, second = sorted((self._key(), self._key()))
        return first, second

    def _value(self, longest: int = 12) -> bytes:
        if self._random.random() < 0.02:
            longest = 3000
        return self._random.randbytes(self._random.randint(0, longest))

    def _variant(self, name: str, *suffixes: str) -> str:
        return name + self._random.choice(("", "", *suffixes))

    def _chance(self) -> int:
        return self._random.randint(0, 1)

    # Operations

    def _get(self) -> None:
        self._do(self._variant("GET", "_SNAPSHOT", "_DATABASE"), self._key(), pushes=1)

    def _selector(self) -> tuple[bytes, int, int]:
        return self._key(), self._chance(), self._random.randint(-4, 5)

    def _get_key(self) -> None:
        name = self._variant("GET_KEY", "_SNAPSHOT", "_DATABASE")
        self._do(name, *self._selector(), self._data, pushes=1)

    def _limits(self) -> tuple[int, int, int]:
        return self._random.choice((0, 1, 2, 5, 100)), self._chance(), -2

    def _get_range(self) -> None:
        name = self._variant("GET_RANGE", "_SNAPSHOT", "_DATABASE")
        self._do(name, *self._span(), *self._limits(), pushes=1)

    def _get_range_starts_with(self) -> None:
        name = self._variant("GET_RANGE_STARTS_WITH", "_SNAPSHOT", "_DATABASE")
        prefix = self._data + self._random.choice(_TAILS)
        self._do(name, prefix, *self._limits(), pushes=1)

    def _get_range_selector(self) -> None:
        name = self._variant("GET_RANGE_SELECTOR", "_SNAPSHOT", "_DATABASE")
        selectors = (*self._selector(), *self._selector())
        self._do(name, *selectors, *self._limits(), self._data, pushes=1)

    def _set(self) -> None:
        self._write("SET", self._key(), self._value())

    def _clear(self) -> None:
        self._write("CLEAR", self._key())

    def _clear_range(self) -> None:
        self._write("CLEAR_RANGE", *self._span())

    def _clear_starts_with(self) -> None:
        self._write("CLEAR_RANGE_STARTS_WITH", self._data + self._random.choice(_TAILS))

    def _atomic(self) -> None:
        self._write("ATOMIC_OP", self._random.choice(ATOMIC), self._key(), self._value(9))

    def _write(self, name: str, *operands: Any) -> None:
        at_once = self._random.random() < 0.2
        self._do(name + "_DATABASE" * at_once, *operands, pushes=int(at_once))

    def _stamp(self) -> None:
        if self._chance():
            key = self._stamped + _HOLE + len(self._stamped).to_bytes(4, "little")
            self._do("ATOMIC_OP", "SET_VERSIONSTAMPED_KEY", key, self._value())
        else:
            self._do(
                "ATOMIC_OP", "SET_VERSIONSTAMPED_VALUE", self._stamped, _HOLE + b"end" + bytes(4)
            )

    def _conflict_key(self) -> None:
        self._do(self._random.choice(("READ", "WRITE")) + "_CONFLICT_KEY", self._key(), pushes=1)

    def _conflict_range(self) -> None:
        name = self._random.choice(("READ", "WRITE")) + "_CONFLICT_RANGE"
        self._do(name, *self._span(), pushes=1)

    def _use(self) -> None:
        self._do("USE_TRANSACTION", b"tr%d" % self._random.randint(0, 3))

    def _commit(self) -> None:
        self._do("COMMIT", pushes=1)
        if self._chance():
            self._do("GET_COMMITTED_VERSION", pushes=1)
        self._do(self._random.choice(("RESET", "NEW_TRANSACTION")))

    def _race(self) -> None:
        """Read some of a range, let others write near it, and commit what depends on it."""
        self._do(self._random.choice(("RESET", "NEW_TRANSACTION")))
        limits = (self._random.choice((1, 2, 3)), self._chance(), -2)
        self._do("GET_RANGE", *self._span(), *limits)
        self._do("SET_DATABASE", self._key(), self._value(), pushes=1)
        # What was read lies below the answer of the write to the database.
        self._do("SWAP", 1)
        self._do("SET", self._key())
        self._do("COMMIT", pushes=1)
        self._do("RESET")

    def _versions(self) -> None:
        """Have one transaction read at the version of another."""
        self._do("GET_READ_VERSION", pushes=1)
        self._use()
        self._do(self._random.choice(("RESET", "NEW_TRANSACTION")))
        self._do("SET_READ_VERSION")
        if self._chance():
            self._get()

    def _fail(self) -> None:
        code = self._random.choice((1007, 1009, 1020, 1021, 2000, 2101, 2102))
        self._do("ON_ERROR", code, pushes=1)

    def _reset(self) -> None:
        if self._random.random() < 0.3:
            self._do("CANCEL")
            self._do("GET", self._key(), pushes=1)
            self._do("COMMIT", pushes=1)
        self._do("RESET")

    def _oversize(self) -> None:
        """Too long a value or key is refused at commit, and nothing of the transaction is done."""
        if self._chance():
            # Longer than what an instruction, itself a value, can hold.
            self._do("CONCAT", b"v" * 60_000, b"v" * 40_001)
            self._do("SET", self._key())
        else:
            self._do("SET", self._data + b"k" * 512, b"")
        self._do("COMMIT", pushes=1)
        self._do("RESET")

    def _tuples(self) -> None:
        items = tuple(self._item() for _ in range(self._random.randint(1, 4)))
        match self._random.randint(0, 5):
            case 0:
                self._do("TUPLE_RANGE", len(items), *items, pushes=2)
            case 1:
                self._do("TUPLE_UNPACK", fdb.tuple.pack(items), pushes=len(items))
            case 2:
                packed = [fdb.tuple.pack((self._item(), self._item())) for _ in items]
                self._do("TUPLE_SORT", len(packed), *packed, pushes=len(packed))
            case 3:
                self._do("ENCODE_DOUBLE", struct.pack(">d", self._random.uniform(-1e9, 1e9)))
                self._do("DECODE_DOUBLE", pushes=1)
            case 4:
                self._do("ENCODE_FLOAT", struct.pack(">f", self._random.uniform(-1e9, 1e9)))
                self._do("DECODE_FLOAT", pushes=1)
            case _:
                self._do("TUPLE_PACK", len(items), *items, pushes=1)

    def _item(self) -> Any:
        return self._random.choice(
            (
                None,
                True,
                self._random.randint(-(1 << 70), 1 << 70),
                self._random.randint(-300, 300),
                self._random.uniform(-1, 1),
                self._value(),
                "".join(self._random.choices("aé\x00\U0001f600", k=3)),
                uuid.UUID(int=self._random.getrandbits(128)),
                (1, (b"\x00", None)),
            )
        )

    def _shuffle(self) -> None:
        match self._random.randint(0, 4):
            case 0 if self._depth:
                self._do("DUP", pushes=1)
            case 1 if self._depth:
                self._do("SWAP", self._random.randint(0, self._depth - 1))
            case 2 if self._depth:
                self._do("POP", pushes=-1)
            case 3:
                self._do(
                    "SUB", self._random.randint(-99, 99), self._random.randint(-99, 99), pushes=1
                )
            case _:
                self._do("CONCAT", self._value(), self._value(), pushes=1)

    def _log_stack(self) -> None:
        self._do("LOG_STACK", self._log + b"%06d" % self._logs)
        self._logs += 1
        self._depth = 0
