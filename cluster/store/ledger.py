"""``actors.core.ports.ledger.Ledger`` over an engine: each method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actors.core.errors.base import Busy
from actors.core.errors.limits import ContainersExceeded
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import ActorTaken, Fenced
from actors.core.names import DEFAULT_SESSION
from actors.core.ports.clock import Clock
from actors.core.ports.ledger import ClaimRequest
from actors.core.quotas import Amount, Quotas, Resource, Room, Usage
from actors.core.records.accounts import UserRecord
from actors.core.records.archive import Unarchived, Unrestored
from actors.core.records.containers import ContainerRecord, ContainerStatus, Health
from actors.core.records.idleness import Idleness
from actors.core.records.nodes import LEAVING, NodeRecord, NodeState
from actors.core.records.ports import PortShare, PortShares
from actors.core.records.sessions import Claim, SessionActivity, SessionPhase, SessionRecord
from cluster.store.engines.interface import Engine
from cluster.store.layers import changes, idempotency, usage
from cluster.store.layers.accounts import audit
from cluster.store.layers.accounts import audit_pages as trail
from cluster.store.layers.changes import StoreFeed
from cluster.store.layers.codec import decode_optional
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import activity, containers, idleness, leases, ports, sessions
from cluster.store.layers.workspaces import manifests, retention, saves
from cluster.store.layers.workspaces.saves import Begun
from cluster.store.transactions.transaction import Transaction, transact

LEAVING_SECONDS = 1.0


class StoreLedger:
    """The ledger of one tenant."""

    def __init__(self, engine: Engine, tenant_id: str, clock: Clock) -> None:
        self._engine = engine
        self._keys = Keyspace(tenant_id)
        self._clock = clock

    async def session(self, session_id: str) -> SessionRecord | None:
        """Return a session's record."""
        return await transact(self._engine, sessions.get, self._keys, session_id)

    async def sessions_by_id(self, session_ids: Sequence[str]) -> dict[str, SessionRecord]:
        """Return those of some sessions that have not ended."""
        return await transact(self._engine, sessions.by_id, self._keys, session_ids)

    async def session_of_user(self, user_id: str, name: str) -> SessionRecord | None:
        """Return the live session of that name."""
        return await transact(self._engine, sessions.of_user, self._keys, user_id, name)

    async def serving(self, session_id: str) -> tuple[SessionRecord, ContainerRecord | None] | None:
        """Return a session's record with that of its container, as of one moment."""
        return await transact(self._engine, _serving, self._keys, session_id)

    async def activity_of(self, records: Sequence[SessionRecord]) -> list[SessionActivity]:
        """Return what sessions were used for last, in their order."""
        return await transact(self._engine, activity.of_sessions, self._keys, records)

    async def note_activity(self, session_ids: Sequence[str], now: float) -> None:
        """Note that sessions were used at a Unix time."""
        await transact(self._engine, activity.note, self._keys, session_ids, now)

    async def email_of(self, user_id: str) -> str | None:
        """Return the address of an account."""

        async def work(tr: Transaction) -> str | None:
            record = decode_optional(UserRecord, await tr.get(self._keys.users.key(user_id)))
            return None if record is None else record.email

        return await transact(self._engine, work)

    async def sessions_of_user(self, user_id: str) -> list[SessionRecord]:
        """Return the user's live sessions, by name."""
        return await transact(self._engine, sessions.all_of_user, self._keys, user_id)

    async def sessions(self, *, after: str | None = None, limit: int = 1000) -> list[SessionRecord]:
        """Return a page of all live sessions, by id."""
        return await transact(self._engine, sessions.page, self._keys, after, limit)

    async def bound_session(self, actor_id: str) -> SessionRecord | None:
        """Return the session that the store says this actor owns."""
        return await transact(self._engine, sessions.bound_to, self._keys, actor_id)

    async def claim(self, request: ClaimRequest) -> Claim:
        """Bind an actor, and for a new session a warm container, to a user's session."""
        blank = SessionRecord(
            session_id=request.new_session_id,
            tenant_id=self._keys.tenant_id,
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
        )
        return await transact(
            self._engine,
            _claim,
            self._keys,
            blank,
            request.container_id,
            request.dead_actor_id,
            request.lapsed,
            request.quotas,
            request.session_id,
            None if request.may_leave else request.node_id,
        )

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
        """Make the actor the owner and raise the epoch."""
        return await transact(
            self._engine,
            sessions.activate,
            self._keys,
            session_id,
            actor_id=actor_id,
            node_id=node_id,
            now=now,
            dead_actor_id=dead_actor_id,
            lapsed=lapsed,
        )

    async def renew_lease(self, record: SessionRecord, number: int) -> None:
        """Renew the owner's lease."""
        await transact(self._engine, leases.renew, self._keys, record, number)

    async def lease(self, session_id: str) -> str:
        """Return the token of a session's lease."""
        return await transact(self._engine, leases.token, self._keys, session_id)

    async def passivate(self, record: SessionRecord, *, lapsed: str | None = None) -> None:
        """Give ownership back, or take it from an owner whose lease has lapsed."""
        now = self._clock.now()

        async def work(tr: Transaction) -> None:
            stored = await sessions.require(tr, self._keys, record)
            # Of a save in between, which whoever does this for the owner has not seen, nothing may be lost.
            unseen = stored.revision != record.revision
            if unseen or not await leases.is_still(tr, self._keys, record.session_id, lapsed):
                raise Fenced(record.session_id, record.epoch, record.epoch)
            sessions.set_owner(tr, self._keys, record, None, None, now)

        await transact(self._engine, work)

    async def save_session(self, record: SessionRecord, *, key: str | None = None) -> SessionRecord:
        """Write the record if its epoch still rules, its owner is unchanged and the key is new."""
        now = self._clock.now()
        return await transact(self._engine, _save, self._keys, record, key, now)

    async def change_at_rest(
        self, session_id: str, change: Callable[[SessionRecord], SessionRecord], *, key: str
    ) -> SessionRecord | None:
        """Change the record of a session that nobody owns, as its owner would; None if somebody does."""
        now = self._clock.now()

        async def work(tr: Transaction) -> SessionRecord | None:
            record = await sessions.get(tr, self._keys, session_id)
            if record is None:
                raise NotFound("session", session_id)
            if record.owner_actor_id is not None:
                return None
            changed = change(record).model_copy(update={"revision": record.revision + 1})
            return await _save(tr, self._keys, changed, key, now)

        return await transact(self._engine, work)

    async def begin_save(self, place: str, token: str, path: str) -> Begun:
        """Begin a save under a key, or renew one's own lease on it; see ``saves.begin``."""
        now = self._clock.now()
        return await transact(self._engine, saves.begin, self._keys, place, token, path, now)

    async def abandon_save(self, place: str, token: str) -> None:
        """Give up a save that was certainly not carried out."""
        await transact(self._engine, saves.abandon, self._keys, place, token)

    async def new_container_epoch(self, record: SessionRecord) -> SessionRecord:
        """Raise the epoch by one for a new container of the session."""
        now = self._clock.now()

        async def work(tr: Transaction) -> SessionRecord:
            await sessions.require(tr, self._keys, record)
            raised = record.model_copy(update={"epoch": record.epoch + 1, "updated_at": now})
            sessions.put(tr, self._keys, raised)
            return raised

        return await transact(self._engine, work)

    async def end_session(self, record: SessionRecord, *, left_on: str | None = None) -> None:
        """Remove the session and free its name and its owner."""
        now = self._clock.now()
        await transact(self._engine, _end, self._keys, record, left_on=left_on, now=now)

    async def left_workspaces(self, node_id: str, limit: int = 100) -> dict[str, float]:
        """Return workspaces that ended sessions left on a node, and the time of each end."""
        return await transact(self._engine, sessions.left_workspaces, self._keys, node_id, limit)

    async def forget_workspace(self, node_id: str, workspace_id: str) -> None:
        """Take note that a workspace which was left is removed."""

        async def work(tr: Transaction) -> None:
            tr.clear(self._keys.left_workspaces.key(node_id, workspace_id))

        await transact(self._engine, work)

    async def usage(self, user_id: str, quotas: Quotas) -> dict[Resource, Usage]:
        """Return what a user has and may have; ``quotas`` are the limits of those who have no others."""
        return await transact(self._engine, usage.of_user, self._keys, user_id, quotas)

    async def place_for(self, session_id: str, path: str, quotas: Quotas) -> tuple[Amount, Room]:
        """Return what a path of a workspace counts for, and its user's room. Raises NotFound."""
        raw = path.encode("utf-8", "surrogateescape")
        work = manifests.place_for
        return await transact(self._engine, work, self._keys, session_id, raw, quotas)

    async def unarchived(self, session_id: str) -> Unarchived | None:
        """Return what of a workspace is not archived."""
        return await transact(self._engine, usage.unarchived, self._keys, session_id)

    async def unrestored(self, session_id: str) -> Unrestored | None:
        """Return what of a workspace is yet to be put back; None: nothing."""
        return await transact(self._engine, usage.unrestored, self._keys, session_id)

    async def idleness(self, session_id: str) -> Idleness | None:
        """Return why a session is awake or when it will sleep."""
        return await transact(self._engine, idleness.get, self._keys, session_id)

    async def record_idleness(self, seen: Idleness) -> Idleness | None:
        """Write what was seen of a session, with the veto that stands."""
        return await transact(self._engine, idleness.record, self._keys, seen)

    async def keep_awake(self, session_id: str, until: float | None) -> Idleness:
        """Set the owner's veto against sleep until a Unix time, or take it back. Raises NotFound."""
        now = self._clock.now()
        return await transact(self._engine, idleness.keep_awake, self._keys, session_id, until, now)

    async def shared_ports(self, session_id: str) -> tuple[SessionRecord, PortShares]:
        """Return a session with its shared ports. Raises NotFound."""
        return await transact(self._engine, ports.get, self._keys, session_id)

    async def share_port(
        self, session_id: str, port: int, change: Callable[[PortShare], PortShare]
    ) -> PortShare:
        """Change how a port is shared; ``change`` is pure. Raises NotFound, InvalidArgument."""
        return await transact(self._engine, ports.share, self._keys, session_id, port, change)

    def container_feed(self, node_id: str) -> StoreFeed[ContainerRecord]:
        """Return the containers of a node that are not stopped, as a feed."""
        return StoreFeed(
            self._engine,
            self._keys,
            changes.containers_of(node_id),
            self._keys.containers,
            ContainerRecord,
            lambda record: (
                record.node_id == node_id and record.status is not ContainerStatus.STOPPED
            ),
        )

    def session_feed(self) -> StoreFeed[SessionRecord]:
        """Return all live sessions as a feed."""
        return StoreFeed(
            self._engine, self._keys, changes.SESSIONS, self._keys.sessions, SessionRecord
        )

    async def containers(self) -> list[ContainerRecord]:
        """Return all container records that are not stopped."""
        return await transact(self._engine, containers.all_live, self._keys)

    async def containers_of_user(self, user_id: str) -> list[ContainerRecord]:
        """Return the containers that a user has."""
        return await transact(self._engine, containers.of_user, self._keys, user_id)

    async def container(self, container_id: str) -> ContainerRecord | None:
        """Return a container's record."""
        return await transact(self._engine, containers.get, self._keys, container_id)

    async def put_container(self, record: ContainerRecord, *, quotas: Quotas | None = None) -> None:
        """Write a container record and, when it has a user, its entry there."""

        async def work(tr: Transaction) -> None:
            if quotas is not None and record.user_id and record.session_id:
                await usage.require_container(
                    tr, self._keys, record.user_id, record.session_id, quotas
                )
            containers.put(tr, self._keys, record)

        await transact(self._engine, work)

    async def require_container(self, session: SessionRecord, quotas: Quotas) -> None:
        """Raise ContainersExceeded if the session may not have a container now."""
        work = usage.require_container
        await transact(self._engine, work, self._keys, session.user_id, session.session_id, quotas)

    async def set_container_status(
        self,
        container_id: str,
        status: ContainerStatus,
        *,
        expected: Sequence[ContainerStatus],
        health: Health | None = None,
        reason: str | None = None,
    ) -> bool:
        """Change the status if it is one of ``expected``; false if it was not."""

        async def work(tr: Transaction) -> bool:
            record = await containers.get(tr, self._keys, container_id)
            if record is None or record.status not in expected:
                return False
            changes: dict[str, object] = {"status": status}
            if health is not None:
                changes["health"] = health
            if reason is not None:
                changes["reason"] = reason
            containers.put(tr, self._keys, record.model_copy(update=changes))
            return True

        return await transact(self._engine, work)

    async def note_loss(self, container_id: str, now: float) -> None:
        """Note when a container's life ended; the first note stands."""

        async def work(tr: Transaction) -> None:
            record = await containers.get(tr, self._keys, container_id)
            if record is not None and record.lost_at is None:
                containers.put(tr, self._keys, record.model_copy(update={"lost_at": now}))

        await transact(self._engine, work)

    async def withdraw_loss(self, container_id: str) -> None:
        """Forget the note of a container's loss; most often there is none, and nothing is written."""

        async def work(tr: Transaction) -> None:
            record = await containers.get(tr, self._keys, container_id)
            if record is not None and record.lost_at is not None:
                containers.put(tr, self._keys, record.model_copy(update={"lost_at": None}))

        await transact(self._engine, work)

    async def remove_container(self, container_id: str) -> None:
        """Forget a container that is gone."""
        await transact(self._engine, containers.remove, self._keys, container_id)


async def _serving(
    tr: Transaction, keys: Keyspace, session_id: str
) -> tuple[SessionRecord, ContainerRecord | None] | None:
    record = await sessions.get(tr, keys, session_id)
    return None if record is None else (record, await containers.of_session(tr, keys, record))


async def _end(
    tr: Transaction, keys: Keyspace, record: SessionRecord, *, left_on: str | None, now: float
) -> None:
    if await sessions.end(tr, keys, record, left_on=left_on, now=now):
        audit.add(tr, keys, trail.of_change(record, None, now))
        await retention.remove(tr, keys, record.workspace_id, record.user_id)


async def _claim(
    tr: Transaction,
    keys: Keyspace,
    blank: SessionRecord,
    container_id: str | None,
    dead_actor_id: str | None,
    lapsed: str | None,
    quotas: Quotas | None,
    meant: str | None,
    opens_at: str | None,
) -> Claim:
    # One round trip for what is read below one by one: this is the path of every login.
    wanted = [
        keys.session_names.key(blank.user_id, blank.name),
        keys.quotas.key(blank.user_id),
    ]
    if container_id is not None:
        wanted.append(keys.containers.key(container_id))
    if blank.owner_actor_id is not None:
        wanted.append(keys.bindings.key(blank.owner_actor_id))
    if opens_at is not None:
        wanted.append(keys.nodes.key(opens_at))
    await tr.get_many(wanted, snapshot=True)
    actor_id, node_id, now = blank.owner_actor_id, blank.owner_node_id, blank.updated_at
    existing = await sessions.of_user(tr, keys, blank.user_id, blank.name)
    if meant is not None and (existing is None or existing.session_id != meant):
        raise NotFound("session", meant)
    if actor_id is not None:
        # An earlier claim whose answer was lost may have been committed after all. An actor with two
        # sessions would serve one of them, and the other one would be nobody's for good.
        bound = await sessions.bound_to(tr, keys, actor_id)
        if bound is not None and (existing is None or bound.session_id != existing.session_id):
            raise ActorTaken(actor_id, bound.session_id)
    if existing is None:
        await _require_joined(tr, keys, opens_at)
        if quotas is not None:
            container_id = await _admit(tr, keys, blank, container_id, quotas)
        record = await sessions.create(tr, keys, blank, container_id, now)
        audit.add(tr, keys, trail.of_change(None, record, now))
        container = await containers.of_session(tr, keys, record)
        return Claim(session=record, created=True, won=True, container=container)
    container = await containers.of_session(tr, keys, existing)
    lost = Claim(session=existing, created=False, won=False, container=container)
    if actor_id is None or existing.owner_actor_id not in {None, dead_actor_id, actor_id}:
        return lost
    if existing.owner_actor_id is not None and not await leases.is_still(
        tr, keys, existing.session_id, lapsed
    ):
        return lost
    await _require_joined(tr, keys, opens_at)
    record = sessions.set_owner(tr, keys, existing, actor_id, node_id, now)
    return Claim(session=record, created=False, won=True, container=container)


async def _require_joined(tr: Transaction, keys: Keyspace, node_id: str | None) -> None:
    """Raise Busy where a node is being emptied: replicas may have chosen it by what was so a moment ago.

    In the transaction that opens a session, so none comes after whoever empties it has seen the last one.
    """
    if node_id is None:
        return
    known = decode_optional(NodeRecord, await tr.get(keys.nodes.key(node_id)))
    if known is not None and known.state is not NodeState.JOINED:
        raise Busy(LEAVING, LEAVING_SECONDS)


async def _admit(
    tr: Transaction,
    keys: Keyspace,
    blank: SessionRecord,
    container_id: str | None,
    quotas: Quotas,
) -> str | None:
    """Return the container that a new session may take over; raises if there may be no such session.

    The default session is made in any case, without a container if need be: whoever signs in has to
    get somewhere, be it to end another one.
    """
    limits = quotas.overridden(await usage.overrides(tr, keys, blank.user_id))
    if limits.sessions:
        await sessions.require_place(tr, keys, blank, limits.sessions)
    try:
        await usage.require_container(tr, keys, blank.user_id, blank.session_id, quotas)
    except ContainersExceeded:
        if blank.name != DEFAULT_SESSION:
            raise
        return None
    return container_id


async def _save(
    tr: Transaction,
    keys: Keyspace,
    record: SessionRecord,
    key: str | None,
    now: float,
) -> SessionRecord:
    stored = await sessions.require(tr, keys, record)
    if key is not None:
        key = f"session/{record.session_id}/{key}"
        if await idempotency.recall(tr, keys, key) is not None:
            return stored
    saved = record.model_copy(update={"updated_at": now})
    sessions.put(tr, keys, saved)
    audit.add(tr, keys, trail.of_change(stored, saved, now))
    if key is not None:
        # That it was used, not the record: that may be as large as a workspace's state.
        await idempotency.remember(tr, keys, key, b"", now)
    return saved
