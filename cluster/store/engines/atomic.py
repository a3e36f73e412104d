"""Atomic operations: what each does to a value (FoundationDB API reference, "MutationType")."""

from __future__ import annotations

from cluster.store.engines.interface import (
    MAX_VALUE,
    OFFSET_BYTES,
    VERSIONSTAMP_BYTES,
    MutationKind,
)


def apply(  # noqa: PLR0911 - one answer a kind
    kind: MutationKind, old: bytes | None, operand: bytes
) -> bytes | None:
    """Return the new value, or None for a cleared key. ``old`` is None when there was none."""
    match kind:
        case MutationKind.SET | MutationKind.SET_VERSIONSTAMPED_VALUE:
            return operand
        case MutationKind.BYTE_MIN:
            return operand if old is None else min(old, operand)
        case MutationKind.BYTE_MAX:
            return operand if old is None else max(old, operand)
        case MutationKind.COMPARE_AND_CLEAR:
            return None if old == operand else old
        case MutationKind.APPEND_IF_FITS:
            joined = (old or b"") + operand
            return joined if len(joined) <= MAX_VALUE else old
        case MutationKind.MIN | MutationKind.BIT_AND if old is None:
            return operand
        case _:
            return _arithmetic(kind, old or b"", operand)


def _arithmetic(kind: MutationKind, old: bytes, operand: bytes) -> bytes:
    """Little-endian arithmetic in the operand's width; the old value is cut or padded to it."""
    width = len(operand)
    left = int.from_bytes(old[:width], "little")
    right = int.from_bytes(operand, "little")
    match kind:
        case MutationKind.ADD:
            result = (left + right) % (1 << (8 * width)) if width else 0
        case MutationKind.BIT_AND:
            result = left & right
        case MutationKind.BIT_OR:
            result = left | right
        case MutationKind.BIT_XOR:
            result = left ^ right
        case MutationKind.MAX:
            result = max(left, right)
        case MutationKind.MIN:
            result = min(left, right)
        case _:
            raise ValueError(f"{kind!r} is not an atomic operation")
    return result.to_bytes(width, "little")


def versionstamp(version: int, order: int) -> bytes:
    """Return the ten bytes that a commit leaves in a versionstamped key or value."""
    return version.to_bytes(8, "big") + order.to_bytes(2, "big")


def place_versionstamp(data: bytes, stamp: bytes) -> bytes:
    """Put the stamp where the operand's last bytes say, and drop those; see ``Commit.check_limits``."""
    body, offset = data[:-OFFSET_BYTES], int.from_bytes(data[-OFFSET_BYTES:], "little")
    return body[:offset] + stamp + body[offset + VERSIONSTAMP_BYTES :]
