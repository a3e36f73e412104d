"""The store's transactions as the stack machine uses them."""

from __future__ import annotations

import secrets

from actors.core.errors.store import (
    CommitConflict,
    CommitUnknown,
    KeyTooLarge,
    StoreError,
    TransactionTooLarge,
    TransactionTooOld,
    ValueTooLarge,
)
from cluster.store.engines.interface import Engine, KeyRange, MutationKind, key_after
from cluster.store.transactions.transaction import Transaction
from tests.binding.stack_machine import Pairs, Refused, Selector

LAST_KEY = b"\xff"
RETRYABLE = {1007, 1009, 1020, 1021, 1037}
CANCELLED, READ_VERSION_ALREADY_SET = 1025, 2010
CODES: dict[type[StoreError], int] = {
    TransactionTooOld: 1007,
    CommitConflict: 1020,
    TransactionTooLarge: 2101,
    KeyTooLarge: 2102,
    ValueTooLarge: 2103,
}
_UNLIMITED = 1 << 30


class StoreOperations:
    """One transaction over an engine; a reset begins a new one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cancelled = False
        self._committed = -1
        self.reset()

    async def get(self, key: bytes, *, snapshot: bool) -> bytes | None:
        try:
            return await self._current().get(key, snapshot=snapshot)
        except StoreError as error:
            raise _refusal(error) from error

    async def get_key(self, selector: Selector, *, snapshot: bool) -> bytes:
        """Walk from the selector's key: forwards for offsets of 1 and more, else backwards."""
        edge = key_after(selector.key) if selector.or_equal else selector.key
        forwards = selector.offset > 0
        span = KeyRange(edge, LAST_KEY) if forwards else KeyRange(b"", edge)
        steps = selector.offset if forwards else 1 - selector.offset
        pairs = await self.get_range(*span, steps, reverse=not forwards, snapshot=snapshot)
        if len(pairs) == steps:
            return pairs[-1][0]
        return LAST_KEY if forwards else b""

    async def get_range(
        self, begin: bytes, end: bytes, limit: int, *, reverse: bool, snapshot: bool
    ) -> Pairs:
        tr = self._current()
        if begin >= end:
            return []
        try:
            return await tr.get_range(
                KeyRange(begin, end), limit=limit or _UNLIMITED, reverse=reverse, snapshot=snapshot
            )
        except StoreError as error:
            raise _refusal(error) from error

    async def get_read_version(self) -> int:
        return await self._current().read_version()

    def set_read_version(self, version: int) -> None:
        tr = self._current()
        if tr._read_version is not None:
            raise Refused(READ_VERSION_ALREADY_SET)
        tr._read_version = version

    def set(self, key: bytes, value: bytes) -> None:
        self._current().set(key, value)

    def clear_range(self, begin: bytes, end: bytes) -> None:
        self._current().clear_range(KeyRange(begin, end))

    def atomic(self, name: str, key: bytes, operand: bytes) -> None:
        self._current().atomic(MutationKind[name], key, operand)

    def add_read_conflict(self, begin: bytes, end: bytes) -> None:
        self._current().add_read_conflict(KeyRange(begin, end))

    def add_write_conflict(self, begin: bytes, end: bytes) -> None:
        self._current().add_write_conflict(KeyRange(begin, end))

    async def commit(self) -> None:
        tr = self._current()
        key = secrets.token_bytes(16)
        while True:
            try:
                self._committed = await tr.commit(key) or -1
            except CommitUnknown:
                continue
            except StoreError as error:
                raise _refusal(error) from error
            return

    def committed_version(self) -> int:
        return self._committed

    def reset(self) -> None:
        self._transaction = Transaction(self._engine)
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    async def on_error(self, code: int) -> None:
        if code not in RETRYABLE:
            raise Refused(code)
        self.reset()

    def _current(self) -> Transaction:
        if self._cancelled:
            raise Refused(CANCELLED)
        return self._transaction


def _refusal(error: StoreError) -> Refused | StoreError:
    code = CODES.get(type(error))
    return error if code is None else Refused(code)
