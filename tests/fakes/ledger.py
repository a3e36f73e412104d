"""A ledger in memory, honest about epochs, owners and idempotency keys.

Held to the same contract as the real one by ``tests/contract/test_ledger_contract.py``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actors.core.errors.limits import ContainersExceeded, TooManyRequests
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import ActorTaken, Fenced, SlotGone
from actors.core.lease import token
from actors.core.names import DEFAULT_SESSION
from actors.core.ports.clock import Clock
from actors.core.ports.ledger import ClaimRequest
from actors.core.quotas import Quotas
from actors.core.records.containers import ContainerRecord, ContainerStatus, Health
from actors.core.records.idleness import Idleness
from actors.core.records.sessions import Claim, SessionActivity, SessionPhase, SessionRecord
from tests.fakes.feed import MemoryFeed


class MemoryLedger:
    """Each method is one step, as a transaction is.

    Renewals of leases are neither refused, lost nor counted: they come when they like.
    ``refuse`` holds errors that the next writes raise without writing, ``lose`` errors that they raise
    although they wrote. ``writes`` names every write that was committed.
    """

    def __init__(self, clock: Clock) -> None:
        self.stored: dict[str, SessionRecord] = {}
        self.emails: dict[str, str] = {}
        self.records: dict[str, ContainerRecord] = {}
        self.refuse: deque[Exception] = deque()
        self.lose: deque[Exception] = deque()
        self.left: dict[tuple[str, str], float] = {}
        self.idleness_of: dict[str, Idleness] = {}
        self.writes: list[str] = []
        self.used: dict[str, float] = {}
        self.leases: dict[str, int] = {}
        self._feeds: dict[str, MemoryFeed[Any]] = {}
        self._answers: dict[str, object] = {}
        self._clock = clock

    # ---- reads ----------------------------------------------------------------------------------

    async def session(self, session_id: str) -> SessionRecord | None:
        await asyncio.sleep(0)
        return self.stored.get(session_id)

    async def serving(self, session_id: str) -> tuple[SessionRecord, ContainerRecord | None] | None:
        await asyncio.sleep(0)
        record = self.stored.get(session_id)
        return None if record is None else (record, self._container_of(record))

    async def change_at_rest(
        self, session_id: str, change: Callable[[SessionRecord], SessionRecord], *, key: str
    ) -> SessionRecord | None:
        await self._begin()
        record = self.stored.get(session_id)
        if record is None:
            raise NotFound("session", session_id)
        if record.owner_actor_id is not None:
            return None
        if f"{session_id}/{key}" in self._answers:
            return record
        changes = {"revision": record.revision + 1, "updated_at": self._clock.now()}
        self.stored[session_id] = change(record).model_copy(update=changes)
        self._answers[f"{session_id}/{key}"] = True
        self._end("change_at_rest")
        return self.stored[session_id]

    async def activity_of(self, records: Sequence[SessionRecord]) -> list[SessionActivity]:
        return [
            SessionActivity(
                save_version=0,
                last_activity=max(record.last_activity, self.used.get(record.session_id, 0.0)),
            )
            for record in records
        ]

    async def note_activity(self, session_ids: Sequence[str], now: float) -> None:
        await self._begin()
        self.used |= {i: now for i in session_ids if i in self.stored}
        self._end("note_activity")

    async def email_of(self, user_id: str) -> str | None:
        return self.emails.get(user_id)

    async def session_of_user(self, user_id: str, name: str) -> SessionRecord | None:
        await asyncio.sleep(0)
        return self._of_user(user_id, name)

    async def sessions(self, *, after: str | None = None, limit: int = 1000) -> list[SessionRecord]:
        ids = sorted(i for i in self.stored if after is None or i > after)
        return [self.stored[i] for i in ids[:limit]]

    async def sessions_by_id(self, session_ids: Sequence[str]) -> dict[str, SessionRecord]:
        return {each: self.stored[each] for each in session_ids if each in self.stored}

    async def bound_session(self, actor_id: str) -> SessionRecord | None:
        await asyncio.sleep(0)
        return next((s for s in self.stored.values() if s.owner_actor_id == actor_id), None)

    async def container(self, container_id: str) -> ContainerRecord | None:
        await asyncio.sleep(0)
        return self.records.get(container_id)

    async def containers(self) -> list[ContainerRecord]:
        return [r for r in self.records.values() if r.status is not ContainerStatus.STOPPED]

    def container_feed(self, node_id: str) -> MemoryFeed[ContainerRecord]:
        def records() -> dict[str, ContainerRecord]:
            return {
                record.container_id: record
                for record in self.records.values()
                if record.node_id == node_id and record.status is not ContainerStatus.STOPPED
            }

        return self._feed(node_id, records)

    def session_feed(self) -> MemoryFeed[SessionRecord]:
        return self._feed("", lambda: self.stored)

    def _feed(self, name: str, records: Callable[[], Mapping[str, Any]]) -> MemoryFeed[Any]:
        return self._feeds.setdefault(name, MemoryFeed(records, self._clock, asyncio.Event()))

    # ---- sessions -------------------------------------------------------------------------------

    async def claim(self, request: ClaimRequest) -> Claim:
        await self._begin()
        existing = self._of_user(request.user_id, request.name)
        meant = request.session_id
        if meant is not None and (existing is None or existing.session_id != meant):
            raise NotFound("session", meant)
        for owned in self.stored.values():
            mine = existing is not None and owned.session_id == existing.session_id
            if request.actor_id in {owned.owner_actor_id} - {None} and not mine:
                raise ActorTaken(str(request.actor_id), owned.session_id)
        if existing is not None and not self._is_free(
            existing, request.dead_actor_id, request.actor_id, request.lapsed
        ):
            container = self._container_of(existing)
            return Claim(session=existing, created=False, won=False, container=container)
        if existing is not None:
            assert request.actor_id is not None
            record = _owned(existing, request.actor_id, request.node_id, request.now)
        else:
            container_id = self._admit(
                request.user_id,
                request.name,
                request.new_session_id,
                request.container_id,
                request.quotas,
            )
            record = self._created(
                SessionRecord(
                    session_id=request.new_session_id,
                    tenant_id="t",
                    user_id=request.user_id,
                    name=request.name,
                    phase=SessionPhase.STARTING if request.actor_id else SessionPhase.HIBERNATED,
                    epoch=1,
                    workspace_id=request.new_workspace_id,
                    owner_actor_id=request.actor_id,
                    owner_node_id=request.node_id if request.actor_id else None,
                    created_at=request.now,
                    updated_at=request.now,
                    last_activity=request.now,
                ),
                container_id,
            )
        self.stored[record.session_id] = record
        self.leases.pop(record.session_id, None)
        self._end("claim")
        created, container = existing is None, self._container_of(record)
        return Claim(session=record, created=created, won=True, container=container)

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
        await self._begin()
        record = self.stored.get(session_id)
        if record is None:
            raise NotFound("session", session_id)
        if not self._is_free(record, dead_actor_id, actor_id, lapsed):
            raise Fenced(session_id, record.epoch, record.epoch)
        owned = _owned(record, actor_id, node_id, now)
        self.stored[session_id] = owned
        self.leases.pop(session_id, None)
        self._end("activate")
        return owned

    async def renew_lease(self, record: SessionRecord, number: int) -> None:
        await asyncio.sleep(0)
        self._require(record)
        self.leases[record.session_id] = number

    async def lease(self, session_id: str) -> str:
        await asyncio.sleep(0)
        return self._token(session_id)

    async def passivate(self, record: SessionRecord, *, lapsed: str | None = None) -> None:
        await self._begin()
        stored = self._require(record)
        unseen = stored.revision != record.revision
        if unseen or lapsed not in {None, self._token(record.session_id)}:
            raise Fenced(record.session_id, record.epoch, record.epoch)
        self.stored[record.session_id] = record.model_copy(
            update={"owner_actor_id": None, "owner_node_id": None, "updated_at": self._clock.now()}
        )
        self._end("passivate")

    async def save_session(self, record: SessionRecord, *, key: str | None = None) -> SessionRecord:
        await self._begin()
        stored = self._require(record)
        if key is not None and f"{record.session_id}/{key}" in self._answers:
            return stored
        saved = record.model_copy(update={"updated_at": self._clock.now()})
        self.stored[record.session_id] = saved
        if key is not None:
            self._answers[f"{record.session_id}/{key}"] = True
        self._end("save_session")
        return saved

    async def new_container_epoch(self, record: SessionRecord) -> SessionRecord:
        await self._begin()
        self._require(record)
        raised = record.model_copy(update={"epoch": record.epoch + 1})
        self.stored[record.session_id] = raised
        self._end("new_container_epoch")
        return raised

    async def end_session(self, record: SessionRecord, *, left_on: str | None = None) -> None:
        await self._begin()
        if record.session_id in self.stored:
            self._require(record)
            del self.stored[record.session_id]
            self.idleness_of.pop(record.session_id, None)
            self.used.pop(record.session_id, None)
            if left_on is not None:
                self.left[left_on, record.workspace_id] = self._clock.now()
        self._end("end_session")

    async def idleness(self, session_id: str) -> Idleness | None:
        return self.idleness_of.get(session_id)

    async def record_idleness(self, seen: Idleness) -> Idleness | None:
        await self._begin()
        if seen.session_id not in self.stored:
            return None
        known = self.idleness_of.get(seen.session_id)
        veto = known.keep_awake_until if known else None
        self.idleness_of[seen.session_id] = seen.model_copy(update={"keep_awake_until": veto})
        self._end("record_idleness")
        return self.idleness_of[seen.session_id]

    async def left_workspaces(self, node_id: str, limit: int = 100) -> dict[str, float]:
        found = {w: at for (node, w), at in sorted(self.left.items()) if node == node_id}
        return dict(list(found.items())[:limit])

    async def forget_workspace(self, node_id: str, workspace_id: str) -> None:
        await self._begin()
        self.left.pop((node_id, workspace_id), None)
        self._end("forget_workspace")

    # ---- containers -----------------------------------------------------------------------------

    async def put_container(self, record: ContainerRecord, *, quotas: Quotas | None = None) -> None:
        await self._begin()
        if quotas is not None and record.user_id and record.session_id:
            self._require_container(record.user_id, record.session_id, quotas)
        self.records[record.container_id] = record
        self._end("put_container")

    async def require_container(self, session: SessionRecord, quotas: Quotas) -> None:
        await asyncio.sleep(0)
        self._require_container(session.user_id, session.session_id, quotas)

    async def set_container_status(
        self,
        container_id: str,
        status: ContainerStatus,
        *,
        expected: Sequence[ContainerStatus],
        health: Health | None = None,
        reason: str | None = None,
    ) -> bool:
        await self._begin()
        record = self.records.get(container_id)
        if record is None or record.status not in expected:
            return False
        changes = {
            "status": status,
            "health": health or record.health,
            "reason": reason or record.reason,
        }
        self.records[container_id] = record.model_copy(update=changes)
        self._end("set_container_status")
        return True

    async def note_loss(self, container_id: str, now: float) -> None:
        await self._begin()
        record = self.records.get(container_id)
        if record is not None and record.lost_at is None:
            self.records[container_id] = record.model_copy(update={"lost_at": now})
        self._end("note_loss")

    async def withdraw_loss(self, container_id: str) -> None:
        await self._begin()
        record = self.records.get(container_id)
        if record is not None:
            self.records[container_id] = record.model_copy(update={"lost_at": None})
        self._end("withdraw_loss")

    async def remove_container(self, container_id: str) -> None:
        await self._begin()
        self.records.pop(container_id, None)
        self._end("remove_container")

    # ---- what tests do to it --------------------------------------------------------------------

    def take_over(self, session_id: str, actor_id: str) -> SessionRecord:
        """Make another actor the owner, as after a partition."""
        owned = _owned(self.stored[session_id], actor_id, "node-2", self._clock.now())
        self.stored[session_id] = owned
        self.leases.pop(session_id, None)
        return owned

    async def _begin(self) -> None:
        await asyncio.sleep(0)
        if self.refuse:
            raise self.refuse.popleft()

    def _end(self, name: str) -> None:
        self.writes.append(name)
        for feed in self._feeds.values():
            feed.changed.set()
        if self.lose:
            raise self.lose.popleft()

    def _token(self, session_id: str) -> str:
        record = self.stored.get(session_id)
        return token(record.epoch if record else 0, self.leases.get(session_id))

    def _is_free(
        self, record: SessionRecord, dead: str | None, actor_id: str | None, lapsed: str | None
    ) -> bool:
        owner = record.owner_actor_id
        if owner is None or actor_id is None:
            return actor_id is not None
        still = lapsed is None or self._token(record.session_id) == lapsed
        return still and owner in {dead, actor_id}

    def _require(self, mine: SessionRecord) -> SessionRecord:
        stored = self.stored.get(mine.session_id)
        if stored is None:
            raise Fenced(mine.session_id, mine.epoch, mine.epoch + 1)
        if (stored.epoch, stored.owner_actor_id) != (mine.epoch, mine.owner_actor_id):
            raise Fenced(mine.session_id, mine.epoch, stored.epoch)
        return stored

    def _container_of(self, record: SessionRecord) -> ContainerRecord | None:
        return self.records.get(record.container_id) if record.container_id else None

    def _of_user(self, user_id: str, name: str) -> SessionRecord | None:
        for record in self.stored.values():
            if (record.user_id, record.name) == (user_id, name):
                return record
        return None

    def _admit(
        self,
        user_id: str,
        name: str,
        session_id: str,
        container_id: str | None,
        quotas: Quotas | None,
    ) -> str | None:
        if quotas is None:
            return container_id
        self._require_place(user_id, name, quotas.sessions or None)
        try:
            self._require_container(user_id, session_id, quotas)
        except ContainersExceeded:
            if name != DEFAULT_SESSION:
                raise
            return None
        return container_id

    def _require_container(self, user_id: str, session_id: str, quotas: Quotas) -> None:
        gone = {ContainerStatus.STOPPED, ContainerStatus.LOST, ContainerStatus.FAILED}
        others = [
            record.session_id or "-"
            for record in self.records.values()
            if record.user_id == user_id
            and record.session_id != session_id
            and record.status not in gone
        ]
        if quotas.containers and len(others) >= quotas.containers:
            known = {s.session_id: s.name for s in self.stored.values()}
            names = {known.get(session_id, session_id) for session_id in others}
            raise ContainersExceeded(len(others), quotas.containers, tuple(sorted(names)))

    def _require_place(self, user_id: str, name: str, max_sessions: int | None) -> None:
        mine = [s.name for s in self.stored.values() if s.user_id == user_id]
        others = sum(other != DEFAULT_SESSION for other in mine)
        if max_sessions is not None and name != DEFAULT_SESSION and others >= max_sessions - 1:
            raise TooManyRequests(f"live sessions: end one of {len(mine)}", 60.0)

    def _created(self, blank: SessionRecord, container_id: str | None) -> SessionRecord:
        if container_id is None:
            return blank
        warm = self.records.get(container_id)
        if warm is None or warm.status is not ContainerStatus.WARM:
            raise SlotGone(container_id, warm.status if warm else "gone")
        self.records[container_id] = warm.model_copy(
            update={
                "status": ContainerStatus.READY,
                "session_id": blank.session_id,
                "user_id": blank.user_id,
                "assigned_at": blank.created_at,
            }
        )
        return blank.model_copy(
            update={
                "phase": SessionPhase.READY,
                "workspace_id": warm.workspace_id,
                "container_id": container_id,
                "container_url": warm.handle.address if warm.handle else None,
                "container_status": ContainerStatus.READY,
            }
        )


def _owned(record: SessionRecord, actor_id: str, node_id: str, now: float) -> SessionRecord:
    return record.model_copy(
        update={
            "owner_actor_id": actor_id,
            "owner_node_id": node_id,
            "epoch": record.epoch + 1,
            "updated_at": now,
        }
    )
