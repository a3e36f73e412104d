"""Sessions: their record, their events, and the answers of who opens them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from actors.core.records.base import Frozen, Record
from actors.core.records.containers import ContainerHandle, ContainerRecord, ContainerStatus


class SessionPhase(StrEnum):
    """Phases of a session's life. ``actors.session.state`` holds the table of moves between them."""

    STARTING = "starting"
    READY = "ready"
    RECOVERING = "recovering"
    HIBERNATING = "hibernating"
    HIBERNATED = "hibernated"
    ENDING = "ending"
    ENDED = "ended"
    FAILED = "failed"


class Cause(StrEnum):
    """Reasons for which a session is opened."""

    LOGIN = "login"
    CALL = "call"
    LOSS = "loss"
    SLEEP = "sleep"
    MOVE = "move"


class SessionRecord(Record):
    """``(tenant, "sessions", session_id)``: the lasting thing.

    ``epoch`` is the fencing number: raised by each activation and each new container.
    ``owner_actor_id`` is empty while the session is at rest. ``workspace_state`` is JSON that a
    client may patch (open files, layout). ``revision`` counts the owner's saves, so that the answer of
    an earlier save is not taken for that of a new one. ``short_lives`` counts containers in a row that
    ended soon after they were ready. ``workspace_node_id`` is the node whose directory
    the session's last container had: elsewhere a directory of the workspace is an older one.
    """

    session_id: str
    tenant_id: str
    user_id: str
    name: str
    phase: SessionPhase
    epoch: int
    workspace_id: str
    workspace_node_id: str | None = None
    owner_actor_id: str | None = None
    owner_node_id: str | None = None
    container_id: str | None = None
    container_url: str | None = None
    container_status: ContainerStatus = ContainerStatus.PENDING
    workspace_state: dict[str, Any] = {}
    revision: int = 0
    restarts: int = 0
    short_lives: int = 0
    failure: str | None = None
    created_at: float
    updated_at: float
    last_activity: float

    @property
    def home(self) -> str | None:
        """The node that has its owner, else its container, or had the last one."""
        return self.owner_node_id or self.workspace_node_id


class SessionActivity(Frozen):
    """The newest version that is kept of a session's workspace, and when people last used it (Unix time)."""

    save_version: int
    last_activity: float


class Claim(Frozen):
    """The outcome of a claim: the session, whether this claim made it, and whether it now owns it.

    ``won`` is false when the session was there and a live actor owned it, or the claim named none;
    ``session.owner_actor_id`` is then whoever owns it. ``container`` is the session's.
    """

    session: SessionRecord
    created: bool
    won: bool
    container: ContainerRecord | None = None


class Opened(Frozen):
    """The answer of PoolActor.open_session: the actor that holds the session now, if it has one.

    ``record`` is the session as it is; None if an actor had it before.
    """

    session_id: str
    actor_id: str | None
    created: bool
    warm_actor: bool
    warm_container: bool
    record: SessionRecord | None = None


class Route(Frozen):
    """The way to a session's container: CODI's address, its secret, and the epoch to speak with.

    ``node_id`` is the container's node; None where nobody asks for it. ``environment``: the version of its
    user's environment that what is started must find.
    """

    session_id: str
    container_id: str
    epoch: int
    address: str
    secret: str
    node_id: str | None = None
    environment: int = 0

    @classmethod
    def to(cls, handle: ContainerHandle, session_id: str, epoch: int) -> Route:
        """Return the way to a container, for a session under that epoch."""
        return cls(
            session_id=session_id,
            container_id=handle.container_id,
            epoch=epoch,
            address=handle.address,
            secret=handle.secret,
            node_id=handle.node_id,
        )


class SessionEvent(Frozen):
    """One thing that happened to a session.

    ``seq`` grows with every event of one ``activation`` of the broker that all of a node's sessions share:
    gaps are other sessions' events, and a reader that sees ``activation`` change starts over. Both are 0
    for what was read from the session's record and is no event.
    """

    activation: int
    seq: int
    at: float
    type: str
    data: dict[str, Any] = {}
