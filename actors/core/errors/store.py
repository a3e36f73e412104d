"""Errors of the store, with FoundationDB's numbers."""

from __future__ import annotations

from actors.core.errors.base import CoditectError


class StoreError(CoditectError):
    """Root of what the store can answer."""

    code = "store_error"


class CommitConflict(StoreError):
    """Another transaction wrote what this one had read (FoundationDB 1020)."""

    code = "commit_conflict"
    retryable = True


class TransactionTooOld(StoreError):
    """The read version is older than the conflict window (FoundationDB 1007)."""

    code = "transaction_too_old"
    retryable = True


class CommitUnknown(StoreError):
    """The commit may or may not have happened (FoundationDB 1021); retry with the same key only."""

    code = "commit_unknown"
    retryable = True


class TransactionTooLarge(StoreError):
    """More than 10 MB in one transaction (FoundationDB 2101)."""

    code = "transaction_too_large"


class KeyTooLarge(StoreError):
    """A key longer than 10,000 bytes (FoundationDB 2102)."""

    code = "key_too_large"


class ValueTooLarge(StoreError):
    """A value longer than 100,000 bytes (FoundationDB 2103)."""

    code = "value_too_large"


class StoreFull(StoreError):
    """The disk is full: nothing was written, reads go on, and writes do once there is room again."""

    code = "store_full"
    retryable = True


class StoreFailed(StoreError):
    """The store met an I/O error and stopped rather than pretend (see fsync errors)."""

    code = "store_failed"
