"""Audit entries about a session and its container, derived from two versions of its record. Pure.

The names are facts (``container.lost``); what somebody asks for is noted by the ingress, under the name
of the request (``session.hibernate``). Nobody asks for most of these: they have no address.
"""

from __future__ import annotations

from actors.core.records.accounts import AuditEntry
from actors.core.records.sessions import SessionPhase, SessionRecord

_P = SessionPhase
_RESTING = {_P.HIBERNATING, _P.HIBERNATED, _P.ENDING, _P.ENDED}


def of_change(
    before: SessionRecord | None, after: SessionRecord | None, now: float
) -> list[AuditEntry]:
    """Return the entries for a session that was made, changed or ended.

    One that was made has no ``before``, one that ended no ``after``.
    """
    record = after or before
    if record is None:
        return []
    session = f"session/{record.session_id}"
    old = before.container_id if before else None
    new = after.container_id if after else None
    actions: list[tuple[str, str]] = []
    if before is None:
        actions.append(("session.created", session))
    elif after is None:
        actions.append(("session.ended", session))
    else:
        if old not in {None, new} and not {before.phase, after.phase} & _RESTING:
            actions.append(("container.lost", f"container/{old}"))
        actions += [(action, session) for action in _moves(before.phase, after.phase)]
    if new not in {None, old}:
        actions.append(("container.launched", f"container/{new}"))
    return [_entry(record, now, action, resource) for action, resource in actions]


def _moves(before: SessionPhase, after: SessionPhase) -> list[str]:
    if before is after:
        return []
    if after is _P.HIBERNATED:
        return ["session.hibernated"]
    if after is _P.FAILED:
        return ["session.failed"]
    return ["session.resumed"] if before is _P.HIBERNATED and after not in _RESTING else []


def _entry(record: SessionRecord, now: float, action: str, resource: str) -> AuditEntry:
    return AuditEntry(
        timestamp=now,
        tenant_id=record.tenant_id,
        user_id=record.user_id,
        action=action,
        resource=resource,
    )
