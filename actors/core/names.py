"""Names of the actors: one place, so that whoever looks an actor up spells it like its maker."""

from __future__ import annotations

from actors.core.calls import (
    ArchiveCalls,
    Component,
    HealthCalls,
    PoolCalls,
    Ref,
    SessionCalls,
    StoreCalls,
    SupervisorCalls,
)

NAMESPACE = "coditect"
SUPERVISOR: Ref[SupervisorCalls] = Ref("supervisor")

DEFAULT_SESSION = "default"
"""The session that signing in opens; a place is kept for it within the limit of a user's sessions."""


def store_actor(node_id: str) -> Ref[StoreCalls]:
    """Return the name of a node's StoreActor."""
    return Ref(f"store-{node_id}")


def pool_actor(node_id: str) -> Ref[PoolCalls]:
    """Return the name of a node's PoolActor."""
    return Ref(f"pool-{node_id}")


def health_checker_actor(node_id: str) -> Ref[HealthCalls]:
    """Return the name of a node's HealthCheckerActor."""
    return Ref(f"health-{node_id}")


def archive_actor(node_id: str) -> Ref[ArchiveCalls]:
    """Return the name of a node's ArchiveActor."""
    return Ref(f"archive-{node_id}")


def journal_actor(node_id: str) -> Ref[Component]:
    """Return the name of a node's JournalActor."""
    return Ref(f"journal-{node_id}")


def egress_actor(node_id: str) -> Ref[Component]:
    """Return the name of a node's EgressActor."""
    return Ref(f"egress-{node_id}")


def ssh_actor(node_id: str) -> Ref[Component]:
    """Return the name of a node's SshActor."""
    return Ref(f"ssh-{node_id}")


def session_actor(actor_id: str) -> Ref[SessionCalls]:
    """Return the name of a SessionActor; it is the actor's, not the session's: actors are re-bound."""
    return Ref(f"session-{actor_id}")


def wake_key(session_id: str, dead_actor_id: str | None) -> str:
    """Return the key under which a session gets an owner: whoever asks for that at once asks for one."""
    return f"wake/{session_id}/{dead_actor_id or '-'}"
