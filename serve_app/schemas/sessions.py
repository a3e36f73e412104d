"""Bodies of sessions and their containers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from actors.core.names import session_actor
from actors.core.records.archive import LeftOut, Unarchived, Unrestored
from actors.core.records.containers import ContainerRecord
from actors.core.records.idleness import Idleness
from actors.core.records.sessions import SessionActivity, SessionPhase, SessionRecord
from serve_app.schemas.base import Asked, Used, shared, workspace_url
from serve_app.schemas.users import UsageOf

_NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$"
Life = Literal["active", "attached", "at_rest", "asleep"]
SessionName = Annotated[str, Field(pattern=_NAME, examples=["default"])]


class DiskOf(BaseModel):
    """Use of a workspace's disk, and its limits: bytes, and files of every kind."""

    bytes: Used
    files: Used

    @classmethod
    def of(cls, usage: Mapping[str, Any]) -> DiskOf | None:
        """Return CODI's answer; None where the disk is the machine's, without a limit."""
        if usage.get("limit_bytes") is None:
            return None
        return cls(
            bytes=Used(used=usage["used_bytes"], limit=usage["limit_bytes"]),
            files=Used(used=usage["used_files"], limit=usage["limit_files"]),
        )


class OpenSession(Asked):
    """A session to open; one of that name is made if there is none."""

    name: SessionName = "default"


class SessionChange(Asked):
    """A merge patch (RFC 7396) for the workspace state."""

    workspace_state: dict[str, Any]


class Idle(BaseModel):
    """The reason for which a session is awake, or the time when it will sleep.

    ``awake_because``: what was seen at last and is enough to keep it awake, of ``input``, ``cpu``,
    ``output``, ``listeners``, ``clients``; ``signals``: what was seen, enough or not. ``sleeps_at``: when
    it hibernates if nothing more happens, null while it is awake. ``keep_awake_until``: the owner's
    veto. ``hibernate_after``: seconds without a sign of life; 0: never.
    """

    awake: bool
    awake_because: list[str]
    signals: list[str]
    sleeps_at: float | None
    keep_awake_until: float | None
    hibernate_after: float

    @classmethod
    def of(cls, known: Idleness | None, hibernate_after: float, now: float) -> Idle:
        """Return what is known; a session that nobody has looked at yet counts as awake."""
        known = known or Idleness(session_id="")
        veto = known.keep_awake_until
        return cls(
            awake=known.due_at is None,
            awake_because=list(known.awake_because),
            signals=list(known.signals),
            sleeps_at=known.due_at,
            keep_awake_until=veto if veto is not None and veto > now else None,
            hibernate_after=hibernate_after,
        )


class KeepAwake(Asked):
    """For how many seconds the session must not hibernate by itself; 0 takes that back."""

    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class NotArchived(BaseModel):
    """Part of a workspace that is not archived: it is in the container only.

    ``paths`` would take ``size`` bytes more; ``since``: Unix time. ``resource``: what its user has too much
    of, if that is a reason; it is archived by itself once there is room: files are deleted, or the quota is
    raised. ``by_design`` are further paths that nobody expects to be kept: excluded ones, and sockets and
    the like. ``left_out`` names the first of all of them, with the reason of each.
    """

    resource: str | None
    paths: int
    size: int
    since: float
    by_design: int
    left_out: list[LeftOut]

    @classmethod
    def of(cls, unarchived: Unarchived | None) -> NotArchived | None:
        """Return what is known; None when everything is archived."""
        return None if unarchived is None else cls(**shared(unarchived, cls))


class NotRestored(BaseModel):
    """Part of a workspace that cannot be put back into its container: ``paths``, and the first of them.

    With none it is still being put back. It is tried again, so it heals with what was missing.
    """

    paths: int
    left_out: list[LeftOut]

    @classmethod
    def of(cls, unrestored: Unrestored | None) -> NotRestored | None:
        """Return what is known; None when everything is there."""
        return None if unrestored is None else cls(**shared(unrestored, cls))


class Session(BaseModel):
    """A session. ``status`` is its phase.

    ``idle`` and ``disk`` are there for one session that runs, ``usage`` (of its user),
    ``unarchived`` and ``unrestored`` for one session; not in lists. ``actor`` is the name in Ray's dashboard
    of the actor that holds it; null while it rests.
    """

    session_id: str
    user_id: str
    actor: str | None
    name: str
    status: str
    container_status: str
    container_id: str | None
    epoch: int
    workspace_url: str
    workspace_state: dict[str, Any]
    save_version: int
    restarts: int
    failure: str | None
    created_at: float
    updated_at: float
    last_activity: float
    life: Life | None = Field(
        None, description="in lists; `active`: its actor has something to decide"
    )
    idle: Idle | None = None
    unarchived: NotArchived | None = None
    unrestored: NotRestored | None = None
    usage: UsageOf | None = None
    disk: DiskOf | None = None

    @classmethod
    def of(
        cls, record: SessionRecord, activity: SessionActivity, base_url: str, **beside: Any
    ) -> Session:
        """Return what its owner sees of a session; ``beside`` are fields that the record does not have."""
        fields = shared(record, cls) | activity.model_dump() | beside
        return cls(
            actor=session_actor(record.owner_actor_id) if record.owner_actor_id else None,
            status=record.phase,
            workspace_url=workspace_url(base_url, record.session_id),
            **fields,
        )


def life_of(record: SessionRecord, sockets: int) -> Life:
    """Return what a session is doing, whether anybody is attached or not."""
    if record.owner_actor_id is not None:
        return "active"
    if record.phase in {SessionPhase.HIBERNATED, SessionPhase.FAILED}:
        return "asleep"
    return "attached" if sockets else "at_rest"


class Sessions(BaseModel):
    """The live sessions."""

    sessions: list[Session]
    next: str | None = None


class LaunchContainer(Asked):
    """A container comes with a session of its own; without a name one is made up."""

    name: SessionName | None = None


class Container(BaseModel):
    """A container."""

    container_id: str
    status: str
    health: str
    session_id: str | None
    user_id: str | None
    runtime: str
    node_id: str
    cloud_run_url: str | None
    created_at: float
    ready_at: float | None
    assigned_at: float | None

    @classmethod
    def of(cls, record: ContainerRecord) -> Container:
        """Return what may be shown of a container: never its secret."""
        return cls(**shared(record, cls))


class Containers(BaseModel):
    """Containers."""

    containers: list[Container]


class Launched(BaseModel):
    """A launched container, with the session that it serves."""

    container_id: str | None
    status: str
    session_id: str
    workspace_url: str
