"""Entries of the audit trail follow from changes of a session."""

from __future__ import annotations

import pytest

from actors.core.records.containers import ContainerStatus
from actors.core.records.sessions import SessionPhase, SessionRecord
from cluster.store.layers.accounts.audit_pages import of_change

P = SessionPhase


def session(phase: SessionPhase, container: str | None) -> SessionRecord:
    return SessionRecord(
        session_id="s1",
        tenant_id="t",
        user_id="u1",
        name="default",
        phase=phase,
        epoch=1,
        workspace_id="w1",
        container_id=container,
        container_status=ContainerStatus.READY,
        created_at=0.0,
        updated_at=0.0,
        last_activity=0.0,
    )


@pytest.mark.parametrize(
    ("before", "after", "reported"),
    [
        (None, (P.STARTING, None), ["session.created"]),
        (None, (P.READY, "c1"), ["session.created", "container.launched"]),
        ((P.STARTING, None), (P.READY, "c1"), ["container.launched"]),
        ((P.READY, "c1"), (P.READY, "c1"), []),
        ((P.READY, "c1"), (P.RECOVERING, "c1"), []),  # it may be found again
        ((P.RECOVERING, "c1"), (P.READY, "c1"), []),
        ((P.READY, "c1"), (P.RECOVERING, None), ["container.lost"]),
        ((P.RECOVERING, None), (P.READY, "c2"), ["container.launched"]),
        ((P.READY, "c1"), (P.READY, "c2"), ["container.lost", "container.launched"]),
        ((P.RECOVERING, "c1"), (P.FAILED, None), ["container.lost", "session.failed"]),
        ((P.READY, "c1"), (P.HIBERNATING, "c1"), []),
        ((P.HIBERNATING, "c1"), (P.HIBERNATED, None), ["session.hibernated"]),
        ((P.READY, "c1"), (P.HIBERNATED, None), ["session.hibernated"]),
        ((P.HIBERNATED, None), (P.STARTING, None), ["session.resumed"]),
        ((P.HIBERNATED, None), (P.READY, "c2"), ["session.resumed", "container.launched"]),
        ((P.HIBERNATED, None), (P.ENDING, None), []),
        ((P.READY, "c1"), (P.ENDING, "c1"), []),
        ((P.ENDING, "c1"), None, ["session.ended"]),
    ],
)
def test_a_change_of_a_session_is_reported_by_what_it_means(before, after, reported):
    entries = of_change(before and session(*before), after and session(*after), 5.0)
    assert [entry.action for entry in entries] == reported
    for entry in entries:
        container = "c1" if entry.action == "container.lost" else (after and after[1])
        resource = "session/s1" if entry.action.startswith("session") else f"container/{container}"
        assert (entry.user_id, entry.resource, entry.timestamp) == ("u1", resource, 5.0)
