"""Errors of a request: what it sent, or what it names, is not as it should be."""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors.base import CoditectError


@dataclass(eq=False)
class InvalidArgument(CoditectError):
    """A value the caller sent is wrong: ``field`` names it, ``reason`` says what is allowed."""

    code = "invalid_argument"

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


@dataclass(eq=False)
class NotFound(CoditectError):
    """There is no such thing, or it is not the caller's; callers cannot learn which."""

    code = "not_found"

    kind: str
    identity: str

    def __str__(self) -> str:
        return f"no {self.kind} {self.identity!r}"


@dataclass(eq=False)
class AlreadyExists(CoditectError):
    """A thing of that name is there already."""

    code = "already_exists"

    kind: str
    identity: str

    def __str__(self) -> str:
        return f"{self.kind} {self.identity!r} exists already"


@dataclass(eq=False)
class KeyReused(CoditectError):
    """An idempotency key came again with another request; nothing was changed."""

    code = "idempotency_key_reused"

    first: str

    def __str__(self) -> str:
        return f"this idempotency key was used before, for {self.first}"


@dataclass(eq=False)
class PreconditionFailed(CoditectError):
    """An ``If-Match`` or an expected state did not hold; nothing was changed."""

    code = "precondition_failed"

    what: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.what} is {self.actual}, expected {self.expected}"


@dataclass(eq=False)
class RangeNotSatisfiable(CoditectError):
    """No byte of the range that was asked for is in the file, which has ``size`` bytes."""

    code = "range_not_satisfiable"

    size: int

    def __str__(self) -> str:
        return f"the range is outside of the file, which has {self.size} bytes"


@dataclass(eq=False)
class UnsupportedEncoding(CoditectError):
    """A body came in a coding that nobody here undoes (RFC 9110, 15.5.16); send it as it is."""

    code = "unsupported_media_type"

    coding: str

    def __str__(self) -> str:
        return f"Content-Encoding {self.coding!r} is not taken: send the content itself"


@dataclass(eq=False)
class PayloadTooLarge(CoditectError):
    """More bytes than ``limit_bytes`` were sent."""

    code = "payload_too_large"

    what: str
    limit_bytes: int

    def __str__(self) -> str:
        return f"{self.what} is larger than {self.limit_bytes} bytes"
