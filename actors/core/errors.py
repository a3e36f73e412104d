"""The one error tree of the server.

    CoditectError
    ├── InvalidArgument        a value the caller sent is wrong
    ├── Unauthenticated        no or bad credentials
    ├── PermissionDenied       known caller, not allowed
    ├── NotFound               no such thing, or not the caller's
    ├── AlreadyExists
    ├── KeyReused              an idempotency key came again with another request
    ├── PreconditionFailed     If-Match or an expected state did not hold
    ├── RangeNotSatisfiable    no byte of a range is in the file
    ├── UnsupportedEncoding    a body in a coding that nobody here undoes
    ├── PayloadTooLarge
    ├── WorkspaceFull          the disk of a workspace is full; nothing was changed
    │   └── DiskQuotaExceeded  it holds what its container may hold
    ├── QuotaExceeded          a user has as much as is allowed
    │   └── ContainersExceeded as many containers, that is
    ├── TooManyRequests        retryable; the caller sent too much
    ├── Busy                   retryable; the server has too much to do
    ├── Unavailable            retryable; a component does not answer
    │   ├── Unreached          nothing was sent, so nothing was done
    │   └── ActorGone          the actor is dead for good, or was never made
    ├── DeadlineExceeded       retryable; it did not answer in time
    ├── LaunchFailed           retryable; a container did not become ready
    ├── Fenced                 an owner with an older epoch was refused
    ├── NotBound               the actor does not hold that session
    ├── SlotGone               retryable; a warm slot was taken by another claim
    ├── SessionEnded
    ├── ManifestMoved          retryable; a workspace's newest version is another than was compared with
    ├── ChunkMissing           retryable; a chunk that was known is stored no more: store it again
    ├── ContentMissing         retryable; what is kept of a file cannot be read back now
    ├── IllegalTransition      a bug: a machine was driven out of its table
    └── StoreError
        ├── CommitConflict     retryable (FoundationDB 1020)
        ├── TransactionTooOld  retryable (1007)
        ├── CommitUnknown      retryable with the same idempotency key (1021)
        ├── TransactionTooLarge, KeyTooLarge, ValueTooLarge   (2101, 2102, 2103)
        ├── StoreFull          retryable; the disk is full, nothing was written
        └── StoreFailed        the store stopped after an I/O error

Errors are dataclasses: they carry data, make their text in ``__str__``, and survive pickling across
processes with it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar


class CoditectError(Exception):
    """Root of the tree. ``code`` is stable and public; ``retryable`` means the same call may work later."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        # Exceptions are pickled by their arguments, however they were given.
        self.args = tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]


@dataclass(eq=False)
class InvalidArgument(CoditectError):
    """A value the caller sent is wrong: ``field`` names it, ``reason`` says what is allowed."""

    code = "invalid_argument"

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


@dataclass(eq=False)
class Unauthenticated(CoditectError):
    """The caller did not prove who they are."""

    code = "unauthenticated"

    reason: str = "sign in first"

    def __str__(self) -> str:
        return self.reason


class TokenReused(Unauthenticated):
    """A refresh token was used again after its time: somebody has a copy, and the login has ended."""

    def __init__(self, user_id: str, family: str) -> None:
        super().__init__("the refresh token is not valid any more; sign in again")
        self.args = (user_id, family)
        self.user_id = user_id
        self.family = family


@dataclass(eq=False)
class PermissionDenied(CoditectError):
    """The caller is known and may not do this."""

    code = "permission_denied"

    action: str

    def __str__(self) -> str:
        return f"not allowed: {self.action}"


class WrongPassword(PermissionDenied):
    """A signed-in caller does not know the password that is to be changed."""

    code = "wrong_password"

    def __init__(self) -> None:
        super().__init__("the current password is wrong")

    def __reduce__(self) -> tuple[type[WrongPassword], tuple[()]]:
        return WrongPassword, ()


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


class WorkspaceFull(CoditectError):
    """The disk that a workspace lies on is full; the file that was being saved is unchanged."""

    code = "disk_full"

    def __str__(self) -> str:
        return "workspace disk is full"


class DiskQuotaExceeded(WorkspaceFull):
    """The container's disk has no more room: ``container_disk`` (bytes) or ``container_inodes`` (files)."""

    code = "disk_quota_exceeded"

    def __init__(self, resource: str, used: int, limit: int) -> None:
        CoditectError.__init__(self, resource, used, limit)
        self.resource = resource
        self.used = used
        self.limit = limit

    def __str__(self) -> str:
        kind = "files" if self.resource == "container_inodes" else "bytes"
        return (
            f"the container's disk is full: {self.used} of {self.limit} {kind}; deleting makes room"
        )


class QuotaExceeded(CoditectError):
    """A user may not have more of a resource (``actors.core.quotas.Resource``): ``needed`` does not fit.

    ``unkept``: a file lies in its workspace by now, and is not kept beyond it.
    """

    code = "quota_exceeded"

    def __init__(
        self, resource: str, used: int, limit: int, needed: int, *, unkept: bool = False
    ) -> None:
        super().__init__(resource, used, limit, needed)
        self.resource = resource
        self.used = used
        self.limit = limit
        self.needed = needed
        self.unkept = unkept

    def __str__(self) -> str:
        what = self.resource.replace("_", " ")
        text = (
            f"quota of {what} exceeded: {self.used} of {self.limit} used, {self.needed} more needed"
        )
        return text + ("; the file is in the workspace, but not kept" if self.unkept else "")


class ContainersExceeded(QuotaExceeded):
    """A user has as many containers as are allowed; ``sessions`` names whose they are."""

    def __init__(self, used: int, limit: int, sessions: tuple[str, ...]) -> None:
        super().__init__("containers", used, limit, 1)
        self.args = (used, limit, sessions)
        self.sessions = sessions

    def __str__(self) -> str:
        names = ", ".join(self.sessions[:5]) + (" …" if len(self.sessions) > 5 else "")
        return (
            f"{self.used} of {self.limit} containers are in use (by {names}): hibernate or end"
            " one of these sessions"
        )


@dataclass(eq=False)
class TooManyRequests(CoditectError):
    """The caller sent too much; wait ``retry_after_seconds``."""

    code = "too_many_requests"
    retryable = True

    what: str
    retry_after_seconds: float

    def __str__(self) -> str:
        return f"too many {self.what}; try again in {self.retry_after_seconds:.0f} s"


@dataclass(eq=False)
class Busy(CoditectError):
    """The server has as much under way as it accepts; wait ``retry_after_seconds``."""

    code = "busy"
    retryable = True

    what: str
    retry_after_seconds: float

    def __str__(self) -> str:
        return f"{self.what}: the server is busy; try again in {self.retry_after_seconds:.0f} s"


@dataclass(eq=False)
class Unavailable(CoditectError):
    """A component does not answer."""

    code = "unavailable"
    retryable = True

    component: str
    reason: str

    def __str__(self) -> str:
        return f"{self.component} is unavailable: {self.reason}"


class ActorGone(Unavailable):
    """No actor of that name lives, and nothing restarts one: look the owner up again."""

    def __init__(self, component: str, reason: str = "no such actor") -> None:
        super().__init__(component, reason)


class Unreached(Unavailable):
    """A component could not be reached, or took nothing: nothing was done, so it may be tried again."""


@dataclass(eq=False)
class DeadlineExceeded(CoditectError):
    """``what`` did not finish within ``seconds``."""

    code = "deadline_exceeded"
    retryable = True

    what: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.what} did not finish within {self.seconds:g} s"


@dataclass(eq=False)
class LaunchFailed(CoditectError):
    """A container did not become ready."""

    code = "launch_failed"
    retryable = True

    container_id: str
    reason: str

    def __str__(self) -> str:
        return f"container {self.container_id} did not start: {self.reason}"


@dataclass(eq=False)
class Fenced(CoditectError):
    """An owner acted with ``epoch`` after ``current`` had been given out; it must end itself."""

    code = "fenced"

    session_id: str
    epoch: int
    current: int

    def __str__(self) -> str:
        return f"session {self.session_id}: epoch {self.epoch} is over, {self.current} rules"


@dataclass(eq=False)
class NotBound(CoditectError):
    """The actor that was asked does not hold that session; look the owner up again."""

    code = "not_bound"
    retryable = True

    actor_id: str
    session_id: str

    def __str__(self) -> str:
        return f"actor {self.actor_id} does not hold session {self.session_id}"


@dataclass(eq=False)
class SlotGone(CoditectError):
    """The warm container that was picked is no longer warm; pick another."""

    code = "slot_gone"
    retryable = True

    container_id: str
    status: str

    def __str__(self) -> str:
        return f"container {self.container_id} is {self.status}, not warm"


@dataclass(eq=False)
class SessionEnded(CoditectError):
    """The session was ended; open a new one."""

    code = "session_ended"

    session_id: str

    def __str__(self) -> str:
        return f"session {self.session_id} has ended"


@dataclass(eq=False)
class ManifestMoved(CoditectError):
    """A workspace's newest version is not the one that the changes were compared with."""

    code = "manifest_moved"
    retryable = True

    workspace_id: str
    base: int
    current: int

    def __str__(self) -> str:
        return f"workspace {self.workspace_id} is at version {self.current}, not {self.base}"


@dataclass(eq=False)
class ChunkMissing(CoditectError):
    """Chunks that a version needs are not stored (any more): store them and commit again."""

    code = "chunk_missing"
    retryable = True

    names: tuple[bytes, ...]

    def __str__(self) -> str:
        return f"{len(self.names)} chunks are not stored"


@dataclass(eq=False)
class ContentMissing(CoditectError):
    """A file's kept content cannot be read back: the chunk store lacks it, or has something else.

    ``path`` is empty where that is not known. It can be read once the chunk store has it again, which is
    looked for every ``retry_after_seconds``.
    """

    code = "content_missing"
    retryable = True

    path: str
    reason: str
    retry_after_seconds: float = 60.0

    def __str__(self) -> str:
        what = f"{self.path!r}" if self.path else "the file"
        return f"the content of {what} cannot be read back: {self.reason}"


@dataclass(eq=False)
class IllegalTransition(CoditectError):
    """A machine was given an event that its table does not allow: a bug, reported with its history."""

    code = "illegal_transition"

    machine: str
    phase: str
    event: str
    history: tuple[str, ...]

    def __str__(self) -> str:
        trail = " → ".join(self.history) or "nothing before"
        return f"{self.machine}: {self.event} is not allowed in {self.phase} (history: {trail})"


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
