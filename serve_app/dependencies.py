"""Protocols of what the ingress needs from outside; ``deployment.py`` fills them on Ray.

Nothing below ``serve_app`` but this file's ``Dependencies`` is needed to run the whole HTTP and
WebSocket interface, so tests run it without Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from actors.core.calls import ActorCaller
from actors.core.ports.clock import Clock
from actors.core.ports.events import EventPublisher
from actors.core.ports.journal import Journal
from actors.core.ports.ledger import ContainerRecords, SessionRecords
from actors.core.quotas import Amount, Quotas, Resource, Room, Usage
from actors.core.records.accounts import (
    AuditEntry,
    RefreshTokenRecord,
    Role,
    SshKeyRecord,
    UserRecord,
)
from actors.core.records.archive import Unarchived, Unrestored
from actors.core.records.containers import ContainerRecord
from actors.core.records.egress import EgressUse, NetworkRecord
from actors.core.records.idleness import Idleness
from actors.core.records.ports import PortShare, PortShares
from actors.core.records.sessions import Route, SessionActivity, SessionRecord
from cluster.archive.restoring.versions import VersionReader
from cluster.codi.client import HttpCodiClient
from cluster.secrets.environments import StoredEnvironments
from cluster.settings import Settings
from cluster.store.layers.accounts.attempts import Asked, Attempt, Outcome, Wait
from cluster.store.layers.accounts.audit import AuditPage, Wanted
from cluster.store.layers.accounts.revocations import EndedLogin
from cluster.store.layers.accounts.tokens import Rotation
from cluster.store.layers.workspaces.saves import Begun


class Users(Protocol):
    """Accounts: ``cluster.store.layers.accounts.users.UserStore``."""

    async def create(self, record: UserRecord) -> UserRecord:
        """Add an account. Raises AlreadyExists."""
        ...

    async def by_id(self, user_id: str) -> UserRecord | None:
        """Return an account."""
        ...

    async def by_email(self, email: str) -> UserRecord | None:
        """Return the account of an address."""
        ...

    async def page(self, *, after: str | None = None, limit: int = 1000) -> list[UserRecord]:
        """Return accounts by id."""
        ...

    async def change(
        self,
        user_id: str,
        *,
        now: float,
        password_hash: str | None = None,
        role: Role | None = None,
        disabled: bool | None = None,
        kept_login: str | None = None,
        replacing: str | None = None,
    ) -> UserRecord:
        """Change what is given; logins end with it, but ``kept_login``.

        Raises NotFound, PreconditionFailed when ``replacing`` is not the password hash any more.
        """
        ...

    async def quotas(self, user_ids: Sequence[str]) -> list[dict[str, int]]:
        """Return the limits that each user has in place of the settings'."""
        ...

    async def set_quotas(
        self, user_id: str, changes: Mapping[Resource, int | None]
    ) -> dict[str, int]:
        """Set limits (0: unlimited), take back those that are None; return all. Raises NotFound."""
        ...


class RefreshTokens(Protocol):
    """Refresh tokens: ``cluster.store.layers.accounts.tokens.TokenStore``."""

    async def create(self, record: RefreshTokenRecord) -> None:
        """Keep the first token of a family."""
        ...

    async def get(self, token_id: str) -> RefreshTokenRecord | None:
        """Return a token's record."""
        ...

    async def rotate(
        self,
        token_id: str,
        successor: RefreshTokenRecord,
        *,
        sealed_secret: str,
        now: float,
        overlap_seconds: float,
    ) -> Rotation:
        """Trade a token for its successor. Raises Unauthenticated."""
        ...

    async def revoke_family(self, family_id: str, *, now: float) -> None:
        """End a login."""
        ...

    async def lives(self, family_id: str, *, now: float) -> bool:
        """Return whether a login goes on."""
        ...

    async def ended_after(self, place: bytes | None) -> list[EndedLogin]:
        """Return the logins that ended after one whose place is known, in order, up to a page."""
        ...

    async def newest_end(self) -> bytes | None:
        """Return what every end of a login changes. Raises Unavailable."""
        ...

    async def wait_for_end(self, newest: bytes | None, seconds: float) -> None:
        """Return when that is not ``newest`` any more, at the latest after some seconds, or sooner.

        Raises Unavailable, Busy.
        """
        ...


class SshKeys(Protocol):
    """Public keys of accounts: ``cluster.store.layers.accounts.ssh_keys.SshKeyStore``."""

    async def add(self, record: SshKeyRecord, *, limit: int) -> None:
        """Add a key to an account. Raises AlreadyExists, QuotaExceeded."""
        ...

    async def of_user(self, user_id: str) -> list[SshKeyRecord]:
        """Return an account's keys, oldest first."""
        ...

    async def find(self, user_id: str, fingerprint: str) -> SshKeyRecord | None:
        """Return a key if the account has it."""
        ...

    async def note_use(self, user_id: str, fingerprint: str, *, now: float) -> None:
        """Note that somebody signed in with a key; one that is gone is left out."""
        ...

    async def remove(self, user_id: str, key_id: str, *, now: float) -> SshKeyRecord:
        """Take a key from an account, and end what was signed in by it. Raises NotFound."""
        ...


class Attempts(Protocol):
    """Attempts to sign in: ``cluster.store.layers.accounts.attempts.AttemptStore``."""

    async def begin(self, asked: Asked, *, now: float) -> Attempt | Wait:
        """Count an attempt, unless it has to wait."""
        ...

    async def settle(self, attempt: Attempt, outcome: Outcome, *, now: float) -> None:
        """Take an attempt back that passed, or that was not checked."""
        ...


class SpentTickets(Protocol):
    """Keeps used tickets: ``cluster.store.layers.accounts.tickets.TicketStore``."""

    async def spend(self, ticket_id: str, *, expires_at: float, now: float) -> bool:
        """Use a ticket; false if it was used before."""
        ...


class AuditTrail(Protocol):
    """The audit trail: ``cluster.store.layers.accounts.audit.AuditLog``."""

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries."""
        ...

    async def page(self, wanted: Wanted) -> AuditPage:
        """Return a page of entries, newest first. Raises InvalidArgument."""
        ...


class Networks(Protocol):
    """What sessions may reach: ``cluster.store.layers.sessions.networks.NetworkStore``."""

    async def get(self, session_id: str) -> tuple[NetworkRecord | None, EgressUse | None]:
        """Return what a session's owner chose, and what it did."""
        ...

    async def put(self, record: NetworkRecord) -> None:
        """Keep a choice. Raises NotFound."""


class Keys(Protocol):
    """Secrets of the server: ``cluster.store.layers.accounts.server_keys.KeyStore``."""

    async def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return the secret of that name; the first caller's is kept for all."""
        ...


class SessionReader(SessionRecords, ContainerRecords, Protocol):
    """Reads sessions for the ingress: ``cluster.store.ledger.StoreLedger``."""

    async def activity_of(self, records: Sequence[SessionRecord]) -> list[SessionActivity]:
        """Return what sessions were used for last, in their order."""
        ...

    async def change_at_rest(
        self, session_id: str, change: Callable[[SessionRecord], SessionRecord], *, key: str
    ) -> SessionRecord | None:
        """Change the record of a session that nobody owns; None if somebody does. Raises NotFound.

        ``change`` is pure, since it may run again; under a ``key`` that was used nothing is changed.
        """
        ...

    async def note_activity(self, session_ids: Sequence[str], now: float) -> None:
        """Note that sessions were used at a Unix time; those that have ended are left out."""
        ...

    async def sessions(self, *, after: str | None = None, limit: int = 1000) -> list[SessionRecord]:
        """Return a page of all sessions that have not ended, ordered by id, after ``after``."""
        ...

    async def sessions_by_id(self, session_ids: Sequence[str]) -> dict[str, SessionRecord]:
        """Return those of some sessions that have not ended, all of one moment."""
        ...

    async def sessions_of_user(self, user_id: str) -> list[SessionRecord]:
        """Return the user's live sessions."""
        ...

    async def containers(self) -> list[ContainerRecord]:
        """Return all container records that are not stopped."""
        ...

    async def idleness(self, session_id: str) -> Idleness | None:
        """Return why a session is awake or when it will sleep."""
        ...

    async def keep_awake(self, session_id: str, until: float | None) -> Idleness:
        """Set the owner's veto against sleep, or take it back. Raises NotFound."""
        ...

    async def shared_ports(self, session_id: str) -> tuple[SessionRecord, PortShares]:
        """Return a session with its shared ports. Raises NotFound."""
        ...

    async def share_port(
        self, session_id: str, port: int, change: Callable[[PortShare], PortShare]
    ) -> PortShare:
        """Change how a port is shared; ``change`` is pure. Raises NotFound, InvalidArgument."""
        ...

    async def usage(self, user_id: str, quotas: Quotas) -> dict[Resource, Usage]:
        """Return what a user has and may have; ``quotas`` are the limits of those who have no others."""
        ...

    async def place_for(self, session_id: str, path: str, quotas: Quotas) -> tuple[Amount, Room]:
        """Return what a path of a workspace counts for, and its user's room. Raises NotFound."""
        ...

    async def unarchived(self, session_id: str) -> Unarchived | None:
        """Return what of a workspace is not archived."""
        ...

    async def unrestored(self, session_id: str) -> Unrestored | None:
        """Return what of a workspace is yet to be put back; None: nothing."""
        ...

    async def begin_save(self, place: str, token: str, path: str) -> Begun:
        """Begin a save under an idempotency key, or renew one's own lease on it."""
        ...

    async def abandon_save(self, place: str, token: str) -> None:
        """Give up a save that was certainly not carried out."""
        ...

    async def containers_of_user(self, user_id: str) -> list[ContainerRecord]:
        """Return the containers that a user has."""
        ...


class TerminalConnection(Protocol):
    """An open socket to a terminal of CODI: ``websockets``' client connection."""

    close_code: int | None
    close_reason: str | None

    async def recv(self) -> str | bytes:
        """Return the next message. Raises websockets' ConnectionClosed."""
        ...

    async def send(self, message: str | bytes) -> None:
        """Send a message; waits while the other side does not read."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it."""
        ...


class TerminalDialer(Protocol):
    """Opens terminals' sockets: ``cluster.codi.client.HttpCodiClient``."""

    def connect_terminal(
        self, route: Route, name: str, query: Mapping[str, str], *, timeout_seconds: float = 10.0
    ) -> Any:
        """Return an awaitable of a TerminalConnection. Raises Unavailable, Fenced and their like."""
        ...


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Everything that a replica of the ingress works with. ``replica_id`` is this one's."""

    settings: Settings
    node_id: str
    replica_id: str
    users: Users
    tokens: RefreshTokens
    ssh_keys: SshKeys
    attempts: Attempts
    tickets: SpentTickets
    audit: AuditTrail
    keys: Keys
    networks: Networks
    environments: StoredEnvironments
    ledger: SessionReader
    library: VersionReader
    journal: Journal
    actors: ActorCaller
    events: EventPublisher
    codi: HttpCodiClient
    clock: Clock
    new_id: Callable[[str], str]
    random_bytes: Callable[[int], bytes]


DependenciesFactory = Callable[[], AbstractAsyncContextManager[Dependencies]]
