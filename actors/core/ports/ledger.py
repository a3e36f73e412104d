"""The store as actors use it, by who needs what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.core.ports.feed import Feeds
from actors.core.quotas import Quotas
from actors.core.records.containers import ContainerRecord, ContainerStatus, Health
from actors.core.records.idleness import Idleness
from actors.core.records.sessions import Claim, SessionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """An actor, and for a new session a warm container, that are to be bound to a user's session.

    Without an actor nobody owns a session that is made: it is at rest, with the container or without.
    ``lapsed`` is the token of the dead owner's lease that ran out; with another one now the owner lives,
    and keeps the session. None: the process is known to have ended. ``quotas``: the limits of users who
    have no others; without it nothing is limited. ``now`` is Unix time. With ``session_id`` no other session
    is meant, and none is made. ``may_leave``: though the node is one that is being emptied.
    """

    user_id: str
    name: str
    new_session_id: str
    new_workspace_id: str
    actor_id: str | None
    node_id: str
    container_id: str | None
    now: float
    dead_actor_id: str | None = None
    lapsed: str | None = None
    quotas: Quotas | None = None
    session_id: str | None = None
    may_leave: bool = False


class SessionRecords(Protocol):
    """Sessions as they are stored."""

    async def session(self, session_id: str) -> SessionRecord | None:
        """Return a session's record."""
        ...

    async def session_of_user(self, user_id: str, name: str) -> SessionRecord | None:
        """Return the live (not ended) session of that name."""
        ...

    async def serving(self, session_id: str) -> tuple[SessionRecord, ContainerRecord | None] | None:
        """Return a session's record with that of its container, as of one moment."""
        ...


class ContainerRecords(Protocol):
    """Containers as they are stored."""

    async def container(self, container_id: str) -> ContainerRecord | None:
        """Return a container's record."""
        ...


class Ownership(Protocol):
    """The owner of a session: claims, leases, and giving it back."""

    async def bound_session(self, actor_id: str) -> SessionRecord | None:
        """Return the session that the store says this actor owns."""
        ...

    async def claim(self, request: ClaimRequest) -> Claim:
        """Bind an actor, and for a new session a warm container, to a user's session.

        One transaction: an existing session that an actor other than the request's ``dead_actor_id``
        owns is returned as it is (``won=False``), and so is any if the request names no actor; one at
        rest gets the owner and a raised epoch; a missing one is created, taking over the container and
        its workspace. Raises SlotGone when the container is no longer warm, ActorTaken when the actor owns
        another session, TooManyRequests when the user
        would have more sessions than allowed, one place of which is kept for the default session, and
        ContainersExceeded likewise: the default session is then made without a container, HIBERNATED if
        it gets no owner. Raises NotFound when the one session that is meant is not there.
        """
        ...

    async def activate(
        self,
        session_id: str,
        *,
        actor_id: str,
        node_id: str,
        now: float,
        dead_actor_id: str | None,
        lapsed: str | None = None,
    ) -> SessionRecord:
        """Make the actor the owner and raise the epoch. Raises Fenced if another live actor owns it.

        ``dead_actor_id`` is the owner that the caller knows to be dead, or the actor itself after
        its restart. ``lapsed``: as in ``ClaimRequest``; Fenced if the lease was renewed meanwhile.
        """
        ...

    async def renew_lease(self, record: SessionRecord, number: int) -> None:
        """Renew the owner's lease. ``number`` is another one each time. Raises Fenced."""
        ...

    async def lease(self, session_id: str) -> str:
        """Return the token of a session's lease, which each renewal and each new epoch changes."""
        ...

    async def passivate(self, record: SessionRecord, *, lapsed: str | None = None) -> None:
        """Give ownership back; the record is saved without an owner. Raises Fenced.

        So it does when ``record`` is of an earlier revision than what is stored.
        ``lapsed``: done for an owner that says nothing, whose lease has this token still.
        """
        ...


class SessionChanges(Protocol):
    """Writes of a session's owner."""

    async def save_session(self, record: SessionRecord, *, key: str | None = None) -> SessionRecord:
        """Write the record if its epoch still rules and its owner is unchanged. Raises Fenced.

        Under a ``key`` that was used before nothing is written, and the record is returned as it is
        stored: its revision shows that.
        """
        ...

    async def new_container_epoch(self, record: SessionRecord) -> SessionRecord:
        """Raise the epoch by one for a new container of the session. Raises Fenced."""
        ...

    async def end_session(self, record: SessionRecord, *, left_on: str | None = None) -> None:
        """Mark it ended, free its name and its owner. Idempotent. Raises Fenced.

        ``left_on`` is the node where its workspace has yet to be removed, which is noted with it.
        """
        ...


class ContainerChanges(Protocol):
    """Writes of a node on its containers."""

    async def put_container(self, record: ContainerRecord, *, quotas: Quotas | None = None) -> None:
        """Write a container record and, when it has a user, its ``user_containers`` entry.

        With ``quotas``: raises ContainersExceeded when the user's other sessions have as many as allowed.
        """
        ...

    async def require_container(self, session: SessionRecord, quotas: Quotas) -> None:
        """Raise ContainersExceeded if the session may not have a container now."""
        ...

    async def set_container_status(
        self,
        container_id: str,
        status: ContainerStatus,
        *,
        expected: Sequence[ContainerStatus],
        health: Health | None = None,
        reason: str | None = None,
    ) -> bool:
        """Change the status if it is one of ``expected``; false if it was not. Cannot race a claim."""
        ...

    async def note_loss(self, container_id: str, now: float) -> None:
        """Note when a container's life ended (Unix time); the first note stands."""
        ...

    async def withdraw_loss(self, container_id: str) -> None:
        """Forget the note of a container's loss: it answers after all."""
        ...

    async def remove_container(self, container_id: str) -> None:
        """Forget a container that is gone. Idempotent."""
        ...


class LeftWorkspaces(Protocol):
    """Workspaces that ended sessions have left on a node."""

    async def left_workspaces(self, node_id: str, limit: int = 100) -> dict[str, float]:
        """Return workspaces that ended sessions left on a node, and the Unix time of each end."""
        ...

    async def forget_workspace(self, node_id: str, workspace_id: str) -> None:
        """Take note that a workspace which was left is removed. Idempotent."""
        ...


class IdleTimes(Protocol):
    """The reasons for which sessions are awake, and the times at which they will sleep."""

    async def idleness(self, session_id: str) -> Idleness | None:
        """Return why a session is awake or when it will sleep; None when nothing is known of it."""
        ...

    async def record_idleness(self, idleness: Idleness) -> Idleness | None:
        """Write what was seen of a session, with the veto that stands; None when the session is gone."""
        ...


class Ledger(
    Feeds,
    SessionRecords,
    ContainerRecords,
    Ownership,
    SessionChanges,
    ContainerChanges,
    LeftWorkspaces,
    IdleTimes,
    Protocol,
):
    """The store as actors use it. Every method is one transaction, retried on conflict.

    Every write of a session checks its epoch and raises Fenced when a newer one rules.
    ``key`` arguments are idempotency keys: the same call again answers the same.
    """

    async def email_of(self, user_id: str) -> str | None:
        """Return the address of an account, None when there is no such account."""
        ...
