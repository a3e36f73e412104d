"""The stack machine with which every binding of FoundationDB is tested.

Written from its public specification (FoundationDB, ``bindings/bindingtester/spec``). A machine
reads its instructions, packed tuples, from the database below a prefix and carries them out on a
``Binding``; two machines that ran the same program over two databases must end with equal stacks.

Not offered, as the store has nothing like it: GET_VERSIONSTAMP, GET_ESTIMATED_RANGE_SIZE,
GET_APPROXIMATE_SIZE, DISABLE_WRITE_CONFLICT, UNIT_TESTS, and the tenant and directory extensions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import fdb.tuple

from tests.binding import tuple_operations

Pairs = list[tuple[bytes, bytes]]
ABSENT = b"RESULT_NOT_PRESENT"
_LOGGED_BYTES = 40_000
_LOGGED_A_COMMIT = 100
_MAX_ATTEMPTS = 1000


class Refused(Exception):
    """An operation failed with one of FoundationDB's error codes."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Selector(NamedTuple):
    """The ``offset``-th key after the last one that is less than ``key``, or equal to it."""

    key: bytes
    or_equal: bool
    offset: int


class Operations(Protocol):
    """A transaction of the binding under test. Everything may raise Refused."""

    async def get(self, key: bytes, *, snapshot: bool) -> bytes | None: ...
    async def get_key(self, selector: Selector, *, snapshot: bool) -> bytes: ...
    async def get_range(
        self, begin: bytes, end: bytes, limit: int, *, reverse: bool, snapshot: bool
    ) -> Pairs: ...
    async def get_read_version(self) -> int: ...
    def set_read_version(self, version: int) -> None: ...
    def set(self, key: bytes, value: bytes) -> None: ...
    def clear_range(self, begin: bytes, end: bytes) -> None: ...
    def atomic(self, name: str, key: bytes, operand: bytes) -> None: ...
    def add_read_conflict(self, begin: bytes, end: bytes) -> None: ...
    def add_write_conflict(self, begin: bytes, end: bytes) -> None: ...
    async def commit(self) -> None: ...
    def committed_version(self) -> int: ...
    def reset(self) -> None: ...
    def cancel(self) -> None: ...
    async def on_error(self, code: int) -> None: ...


Binding = Callable[[], Operations]
"""Makes transactions of one database."""


class Item(NamedTuple):
    """An item on the stack, and the number of the instruction that put it there."""

    number: int
    value: Any


class StackMachine:
    """Runs one program. ``transactions`` are shared with the machines that it starts."""

    def __init__(
        self,
        binding: Binding,
        prefix: bytes,
        transactions: dict[bytes, Operations] | None = None,
    ) -> None:
        self._binding = binding
        self._prefix = prefix
        self._transactions = {} if transactions is None else transactions
        self._name = prefix
        self._last_version = 0
        self._number = -1
        self._threads: list[asyncio.Task[None]] = []
        self.stack: list[Item] = []
        self.executed = 0
        self.errors: dict[int, int] = {}

    async def run(self) -> None:
        """Read the program and execute it."""
        await self.execute(await self.program())

    async def execute(self, program: list[tuple[Any, ...]]) -> None:
        """Execute a program; return when it and what it started have ended."""
        try:
            for instruction in program:
                await self.step(instruction)
            await asyncio.gather(*self._threads)
        finally:
            for thread in self._threads:
                thread.cancel()

    async def step(self, instruction: tuple[Any, ...]) -> None:
        """Execute one instruction: the name of the operation, then its argument if it has one."""
        self._number += 1
        self.executed += 1
        name: str = instruction[0]
        try:
            await self._execute(name, instruction[1:])
        except Refused as refused:
            self.errors[refused.code] = self.errors.get(refused.code, 0) + 1
            self._push(fdb.tuple.pack((b"ERROR", b"%d" % refused.code)))

    async def program(self) -> list[tuple[Any, ...]]:
        """Read the program."""
        span = fdb.tuple.range((self._prefix,))
        reader = self._binding()
        rows = await reader.get_range(span.start, span.stop, 0, reverse=False, snapshot=True)
        return [fdb.tuple.unpack(value) for _, value in rows]

    async def _execute(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name in tuple_operations.OPERATIONS:
            for value in tuple_operations.OPERATIONS[name](self._pop):
                self._push(value)
            return
        if (handler := _STACK.get(name)) is not None:
            handler(self, *arguments)
            return
        if (control := _CONTROL.get(name)) is not None:
            await control(self)
            return
        base = name.removesuffix("_DATABASE").removesuffix("_SNAPSHOT")
        operands = [self._pop() for _ in range(_OPERANDS[base])]
        operation = _DATA[base]
        snapshot = name.endswith("_SNAPSHOT")
        if not name.endswith("_DATABASE"):
            result = await operation(self._transaction(), snapshot, *operands)
        else:
            result = await self._at_once(operation, operands)
            if base in _WRITES:
                # The specification lets a binding push a future here; ours would have ended.
                result = ABSENT
        if result is not None:
            self._push(result)

    async def _at_once(self, operation: Callable[..., Awaitable[Any]], operands: list[Any]) -> Any:
        """Run an operation of the database itself: in a transaction of its own, with retries."""

        async def work(tr: Operations) -> Any:
            return await operation(tr, False, *operands)

        return await self._retried(work)

    async def _retried(self, work: Callable[[Operations], Awaitable[Any]]) -> Any:
        tr = self._binding()
        for _ in range(_MAX_ATTEMPTS):
            try:
                result = await work(tr)
                await tr.commit()
            except Refused as refused:
                await tr.on_error(refused.code)
            else:
                return result
        raise AssertionError("a transaction was retried too often")

    def _push(self, value: Any) -> None:
        self.stack.append(Item(self._number, value))

    def _pop(self) -> Any:
        return self.stack.pop().value

    def _transaction(self) -> Operations:
        if self._name not in self._transactions:
            self._transactions[self._name] = self._binding()
        return self._transactions[self._name]

    # Data operations

    def _duplicate(self) -> None:
        self.stack.append(self.stack[-1])

    def _swap(self) -> None:
        depth = self._pop()
        stack = self.stack
        stack[-1], stack[-1 - depth] = stack[-1 - depth], stack[-1]

    def _subtract(self) -> None:
        left, right = self._pop(), self._pop()
        self._push(left - right)

    def _concatenate(self) -> None:
        left, right = self._pop(), self._pop()
        self._push(left + right)

    async def _log_stack(self) -> None:
        prefix = self._pop()
        items = list(enumerate(self.stack))
        for start in range(0, len(items), _LOGGED_A_COMMIT):
            part = items[start : start + _LOGGED_A_COMMIT]

            async def work(tr: Operations, part: list[tuple[int, Item]] = part) -> None:
                for index, item in part:
                    packed = fdb.tuple.pack((item.value,))[:_LOGGED_BYTES]
                    tr.set(prefix + fdb.tuple.pack((index, item.number)), packed)

            await self._retried(work)
        self.stack.clear()

    # Transactions

    async def _new_transaction(self) -> None:
        self._transactions[self._name] = self._binding()

    async def _use_transaction(self) -> None:
        self._name = self._pop()
        self._transaction()

    async def _on_error(self) -> None:
        await self._transaction().on_error(self._pop())
        self._push(ABSENT)

    async def _commit(self) -> None:
        await self._transaction().commit()
        self._push(ABSENT)

    async def _reset(self) -> None:
        self._transaction().reset()

    async def _cancel(self) -> None:
        self._transaction().cancel()

    async def _get_read_version(self) -> None:
        self._last_version = await self._transaction().get_read_version()
        self._push(b"GOT_READ_VERSION")

    async def _set_read_version(self) -> None:
        self._transaction().set_read_version(self._last_version)

    async def _get_committed_version(self) -> None:
        self._last_version = self._transaction().committed_version()
        self._push(b"GOT_COMMITTED_VERSION")

    # Threads

    async def _start_thread(self) -> None:
        machine = StackMachine(self._binding, self._pop(), self._transactions)
        self._threads.append(asyncio.create_task(machine.run()))

    async def _wait_empty(self) -> None:
        prefix = self._pop()

        async def work(tr: Operations) -> None:
            if await tr.get_range(prefix, strinc(prefix), 1, reverse=False, snapshot=False):
                # As if somebody were in the way, for as long as something is there.
                await asyncio.sleep(0.005)
                raise Refused(1020)

        await self._retried(work)
        self._push(b"WAITED_FOR_EMPTY")


def strinc(prefix: bytes) -> bytes:
    """Return the first key that does not begin with ``prefix``."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1])


def _clamped(key: bytes, prefix: bytes) -> bytes:
    if key.startswith(prefix):
        return key
    return prefix if key < prefix else strinc(prefix)


def _packed(pairs: Pairs, prefix: bytes = b"") -> bytes:
    kept = [part for pair in pairs if pair[0].startswith(prefix) for part in pair]
    return bytes(fdb.tuple.pack(tuple(kept)))


async def _get(tr: Operations, snapshot: bool, key: bytes) -> bytes:
    value = await tr.get(key, snapshot=snapshot)
    return ABSENT if value is None else value


async def _get_key(
    tr: Operations, snapshot: bool, key: bytes, or_equal: int, offset: int, prefix: bytes
) -> bytes:
    found = await tr.get_key(Selector(key, bool(or_equal), offset), snapshot=snapshot)
    return _clamped(found, prefix)


async def _get_range(
    tr: Operations, snapshot: bool, begin: bytes, end: bytes, limit: int, reverse: int, mode: int
) -> bytes:
    del mode  # how much is fetched at once changes no result
    return _packed(await tr.get_range(begin, end, limit, reverse=bool(reverse), snapshot=snapshot))


async def _get_range_starts_with(
    tr: Operations, snapshot: bool, prefix: bytes, limit: int, reverse: int, mode: int
) -> bytes:
    return await _get_range(tr, snapshot, prefix, strinc(prefix), limit, reverse, mode)


async def _get_range_selector(tr: Operations, snapshot: bool, *operands: Any) -> bytes:
    begin = Selector(operands[0], bool(operands[1]), operands[2])
    end = Selector(operands[3], bool(operands[4]), operands[5])
    limit, reverse, _, prefix = operands[6:]
    first = await tr.get_key(begin, snapshot=snapshot)
    last = await tr.get_key(end, snapshot=snapshot)
    pairs = await tr.get_range(first, last, limit, reverse=bool(reverse), snapshot=snapshot)
    return _packed(pairs, prefix)


async def _set(tr: Operations, _: bool, key: bytes, value: bytes) -> None:
    tr.set(key, value)


async def _clear(tr: Operations, _: bool, key: bytes) -> None:
    tr.clear_range(key, key + b"\x00")


async def _clear_range(tr: Operations, _: bool, begin: bytes, end: bytes) -> None:
    tr.clear_range(begin, end)


async def _clear_starts_with(tr: Operations, _: bool, prefix: bytes) -> None:
    tr.clear_range(prefix, strinc(prefix))


async def _atomic(tr: Operations, _: bool, name: str, key: bytes, operand: bytes) -> None:
    tr.atomic(name, key, operand)


async def _read_conflict_range(tr: Operations, _: bool, begin: bytes, end: bytes) -> bytes:
    tr.add_read_conflict(begin, end)
    return b"SET_CONFLICT_RANGE"


async def _write_conflict_range(tr: Operations, _: bool, begin: bytes, end: bytes) -> bytes:
    tr.add_write_conflict(begin, end)
    return b"SET_CONFLICT_RANGE"


async def _read_conflict_key(tr: Operations, _: bool, key: bytes) -> bytes:
    tr.add_read_conflict(key, key + b"\x00")
    return b"SET_CONFLICT_KEY"


async def _write_conflict_key(tr: Operations, _: bool, key: bytes) -> bytes:
    tr.add_write_conflict(key, key + b"\x00")
    return b"SET_CONFLICT_KEY"


_STACK: dict[str, Callable[..., None]] = {
    "PUSH": StackMachine._push,
    "DUP": StackMachine._duplicate,
    "EMPTY_STACK": lambda machine: machine.stack.clear(),
    "SWAP": StackMachine._swap,
    "POP": lambda machine: machine._pop(),
    "SUB": StackMachine._subtract,
    "CONCAT": StackMachine._concatenate,
    "WAIT_FUTURE": lambda machine: None,  # no future is ever pushed
}
_CONTROL: dict[str, Callable[[StackMachine], Awaitable[None]]] = {
    "LOG_STACK": StackMachine._log_stack,
    "NEW_TRANSACTION": StackMachine._new_transaction,
    "USE_TRANSACTION": StackMachine._use_transaction,
    "ON_ERROR": StackMachine._on_error,
    "COMMIT": StackMachine._commit,
    "RESET": StackMachine._reset,
    "CANCEL": StackMachine._cancel,
    "GET_READ_VERSION": StackMachine._get_read_version,
    "GET_READ_VERSION_SNAPSHOT": StackMachine._get_read_version,
    "SET_READ_VERSION": StackMachine._set_read_version,
    "GET_COMMITTED_VERSION": StackMachine._get_committed_version,
    "START_THREAD": StackMachine._start_thread,
    "WAIT_EMPTY": StackMachine._wait_empty,
}
_DATA: dict[str, Callable[..., Awaitable[Any]]] = {
    "GET": _get,
    "GET_KEY": _get_key,
    "GET_RANGE": _get_range,
    "GET_RANGE_STARTS_WITH": _get_range_starts_with,
    "GET_RANGE_SELECTOR": _get_range_selector,
    "SET": _set,
    "CLEAR": _clear,
    "CLEAR_RANGE": _clear_range,
    "CLEAR_RANGE_STARTS_WITH": _clear_starts_with,
    "ATOMIC_OP": _atomic,
    "READ_CONFLICT_RANGE": _read_conflict_range,
    "WRITE_CONFLICT_RANGE": _write_conflict_range,
    "READ_CONFLICT_KEY": _read_conflict_key,
    "WRITE_CONFLICT_KEY": _write_conflict_key,
}
_OPERANDS = {
    "GET": 1,
    "GET_KEY": 4,
    "GET_RANGE": 5,
    "GET_RANGE_STARTS_WITH": 4,
    "GET_RANGE_SELECTOR": 10,
    "SET": 2,
    "CLEAR": 1,
    "CLEAR_RANGE": 2,
    "CLEAR_RANGE_STARTS_WITH": 1,
    "ATOMIC_OP": 3,
    "READ_CONFLICT_RANGE": 2,
    "WRITE_CONFLICT_RANGE": 2,
    "READ_CONFLICT_KEY": 1,
    "WRITE_CONFLICT_KEY": 1,
}
_WRITES = {"SET", "CLEAR", "CLEAR_RANGE", "CLEAR_RANGE_STARTS_WITH", "ATOMIC_OP"}
