"""Errors of a request: what it sent, or what it names, is not as it should be."""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors.base import CoditectError


@dataclass(eq=False)
class InvalidArgument(CoditectError):
    """A value the caller sent is wrong: ``field`` names it, ``reason`` says what is allowed."""

    code = "invalid_argument"
    text = "{field}: {reason}"

    field: str
    reason: str


@dataclass(eq=False)
class NotFound(CoditectError):
    """There is no such thing, or it is not the caller's; callers cannot learn which."""

    code = "not_found"
    text = "no {kind} {identity!r}"

    kind: str
    identity: str


@dataclass(eq=False)
class AlreadyExists(CoditectError):
    """A thing of that name is there already."""

    code = "already_exists"
    text = "{kind} {identity!r} exists already"

    kind: str
    identity: str


@dataclass(eq=False)
class KeyReused(CoditectError):
    """An idempotency key came again with another request; nothing was changed."""

    code = "idempotency_key_reused"
    text = "this idempotency key was used before, for {first}"

    first: str


@dataclass(eq=False)
class PreconditionFailed(CoditectError):
    """An ``If-Match`` or an expected state did not hold; nothing was changed."""

    code = "precondition_failed"
    text = "{what} is {actual}, expected {expected}"

    what: str
    expected: str
    actual: str


@dataclass(eq=False)
class RangeNotSatisfiable(CoditectError):
    """No byte of the range that was asked for is in the file, which has ``size`` bytes."""

    code = "range_not_satisfiable"
    text = "the range is outside of the file, which has {size} bytes"

    size: int


@dataclass(eq=False)
class UnsupportedEncoding(CoditectError):
    """A body came in a coding that nobody here undoes (RFC 9110, 15.5.16); send it as it is."""

    code = "unsupported_media_type"
    text = "Content-Encoding {coding!r} is not taken: send the content itself"

    coding: str


@dataclass(eq=False)
class PayloadTooLarge(CoditectError):
    """More bytes than ``limit_bytes`` were sent."""

    code = "payload_too_large"
    text = "{what} is larger than {limit_bytes} bytes"

    what: str
    limit_bytes: int
