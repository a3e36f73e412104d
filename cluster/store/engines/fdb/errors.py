"""Translates FoundationDB's error codes for callers of the engine.

Codes are those of ``flow/error_definitions.h`` ("Error Codes" in FoundationDB's documentation).

A commit that another sending of may still be under way (1031, 1025) is answered definitely only by
what must hold for that other one, too: a conflict (1020), a read version that is too old (1007),
or a request that the client refuses before sending it (2xxx). Everything else, throttling
included, is CommitUnknown: sending the very same commit again is always safe.
"""

from __future__ import annotations

from actors.core.errors.base import Unavailable
from actors.core.errors.store import (
    CommitConflict,
    CommitUnknown,
    KeyTooLarge,
    StoreError,
    StoreFailed,
    TransactionTooLarge,
    TransactionTooOld,
    ValueTooLarge,
)

TRANSACTION_TOO_OLD = 1007
FUTURE_VERSION = 1009
NOT_COMMITTED = 1020
TRANSACTION_TIMED_OUT = 1031

_CLIENT_ERRORS = range(2000, 3000)
_TOO_LARGE: dict[int, type[StoreError]] = {
    2101: TransactionTooLarge,
    2102: KeyTooLarge,
    2103: ValueTooLarge,
}


def of_read(code: int, text: str) -> StoreError | Unavailable:
    """Return what a failed read raises. Everything but a misuse of the client is worth another try."""
    said = _said(code, text)
    if code in {TRANSACTION_TOO_OLD, FUTURE_VERSION}:
        return TransactionTooOld(said)
    if code in _CLIENT_ERRORS:
        return StoreFailed(said)
    return Unavailable("store", said)


def of_commit(code: int, text: str) -> StoreError:
    """Return what a failed commit raises."""
    said = _said(code, text)
    if code == NOT_COMMITTED:
        return CommitConflict(said)
    if code == TRANSACTION_TOO_OLD:
        return TransactionTooOld(said)
    if code in _TOO_LARGE:
        return _TOO_LARGE[code](said)
    if code in _CLIENT_ERRORS:
        return StoreFailed(said)
    return CommitUnknown(said)


def of_open(code: int, text: str) -> Unavailable:
    """Return what a failed attempt to open the database raises."""
    return Unavailable("store", _said(code, text))


def _said(code: int, text: str) -> str:
    return f"FoundationDB {code}: {text}"
