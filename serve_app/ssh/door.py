"""Lets one client in: decides who it is and which session it means, and hands its channels on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncssh
import structlog

from actors.core.errors.base import CoditectError
from actors.core.names import DEFAULT_SESSION
from actors.core.records.accounts import SshKeyRecord
from actors.core.records.sessions import SessionPhase, SessionRecord
from serve_app.auth.sign_in import Visitor
from serve_app.auth.tokens import Login
from serve_app.ingress import Ingress
from serve_app.ssh.forwarding import Forward, open_forward, open_unix_forward
from serve_app.ssh.handover import Entry
from serve_app.ssh.keys import fingerprint_of
from serve_app.ssh.listening import RemoteListener
from serve_app.ssh.programs import Program
from serve_app.ssh.rules import LOCAL_NAMES, SessionById, SessionByName, parse_user
from serve_app.ssh.seats import Seats
from serve_app.ssh.visit import Visit

if TYPE_CHECKING:
    from serve_app.ssh.connection import Connection

logger = structlog.get_logger(__name__)

MAX_LISTENERS = 16
"""Ports that one connection may ask for inside, in all."""

REFUSAL_SECONDS = 0.05
"""A refusal comes after this long, or a multiple of it, however little had to be looked up for it."""

MAX_SOCKET_PATH = 107

_ENDED = frozenset({SessionPhase.ENDING, SessionPhase.ENDED})
_UNKNOWN = (
    "coditect: no session of that name takes this key. The user name is a session's id, or the address"
    " of an account that has the key (work/ada@example.com: its session `work`).\r\n"
)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A key that would do, and the session that is meant; None: one that is yet to be opened."""

    login: Login
    key: SshKeyRecord
    session: SessionRecord | None


class Door(asyncssh.SSHServer):
    """The client's side of one connection. ``entry``: who it is, where a replica has said so.

    ``gone`` is called once, when it has ended.
    """

    def __init__(
        self,
        ingress: Ingress,
        seats: Seats,
        entry: Entry | None,
        gone: Callable[[Door], None],
    ) -> None:
        self._ingress = ingress
        self._seats = seats
        self._entry = entry
        self._gone = gone
        self._connection: Connection | None = None
        self._place: str | None = None
        self._shown: _Shown | None = None
        self._explained = False
        self._visit: Visit | None = None
        self._seated: str | None = None
        self._listeners = 0
        self._agent_listener: RemoteListener | None = None
        self._agent_lock = asyncio.Lock()
        self._address = "" if entry is None else entry.address

    # ---- coming and going -----------------------------------------------------------------------

    def connection_made(self, conn: Any) -> None:
        """Take the user's seat, or a place among the strangers, or send the client away."""
        self._connection = conn
        if self._entry is not None:
            self._sit(self._entry.user_id)
            return
        self._address = str(conn.get_extra_info("peername")[0])
        self._place = self._seats.enter(self._address)
        if self._place is None:
            conn.abort()  # as sshd does: an answer would cost more than it is worth

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back whatever it had."""
        self._leave_place()
        if self._seated is not None:
            self._seats.stand_up(self._seated)
            self._seated = None
        if self._visit is not None:
            self._visit.end()
        elif self._connection is not None and self._connection.failures > 1:
            visitor = Visitor(self._address, self._agent())
            self._ingress.sign_in.note_later(None, "ssh.connect", "user", visitor, "refused")
        self._gone(self)

    def close(self, reason: str) -> None:
        """End the connection and say why."""
        if self._connection is not None:
            self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, reason)

    async def wait_closed(self) -> None:
        """Return when it has ended."""
        if self._connection is not None:
            await self._connection.wait_closed()

    # ---- who it is ------------------------------------------------------------------------------

    def begin_auth(self, username: str) -> bool:
        """Return whether the client has yet to prove who it is.

        Never False for what was only asked or found out on the way: a client may begin anew at any time.
        """
        return self._entry is None

    def public_key_auth_supported(self) -> bool:
        """Return that keys are the way."""
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Return whether a key is at the account whose session is meant; all that is not is unknown.

        Whether the client has the key as well is checked behind this, so nothing is done yet.
        """
        self._shown = None
        began = self._ingress.deps.clock.monotonic()
        try:
            shown = await self._find(parse_user(username), fingerprint_of(key.public_data))
        except CoditectError as error:
            if error.retryable:
                logger.warning("an SSH key could not be looked up", reason=str(error))
            shown = None
        if shown is None:
            # Whether there is such an account, or session, how long it took shall not say.
            spent = self._ingress.deps.clock.monotonic() - began
            await self._ingress.deps.clock.sleep(-spent % REFUSAL_SECONDS)
            self._explain()
            return False
        self._shown = shown
        return True

    def auth_completed(self) -> None:
        """Give the client its seat, and have it enter the session.

        Not awaited: its channels may be here already.
        """
        connection, entry, shown = self._connection, self._entry, self._shown
        assert connection is not None
        if entry is not None:
            login = Login(entry.user_id, entry.family, entry.generation)
        else:
            assert shown is not None
            login = shown.login
        if self._seated is None and not self._sit(login.user_id):
            return
        self._leave_place()
        self._visit = Visit(self._ingress, login, self._enter, connection, self.close)
        self._visit.begin()

    async def _find(self, wanted: SessionById | SessionByName, fingerprint: str) -> _Shown | None:
        deps = self._ingress.deps
        session: SessionRecord | None
        match wanted:
            case SessionById(session_id):
                session = await deps.ledger.session(session_id)
                if session is None or session.phase in _ENDED:
                    return None
                user_id = session.user_id
            case SessionByName(email, name):
                account = await deps.users.by_email(email)
                if account is None:
                    return None
                user_id = account.user_id
                session = await deps.ledger.session_of_user(user_id, name)
                if session is None and name != DEFAULT_SESSION:
                    return None
        key = await deps.ssh_keys.find(user_id, fingerprint)
        user = await deps.users.by_id(user_id)
        if key is None or user is None or user.disabled:
            return None
        login = Login(user_id, key.key_id, user.generation)
        return None if self._ingress.ended.is_over(login) else _Shown(login, key, session)

    async def _enter(self) -> str:
        """Return the id of the session of a client that is signed in, which may be yet to be opened."""
        if self._entry is not None:
            return self._entry.session_id  # the replica has checked and noted it
        shown, ingress = self._shown, self._ingress
        assert shown is not None
        user_id, session = shown.login.user_id, shown.session
        if session is None:  # as signing in opens it
            session, _ = await ingress.gateway.open(
                user_id, DEFAULT_SESSION, ingress.deps.new_id("k")
            )
        resource, visitor = f"sessions/{session.session_id}", Visitor(self._address, self._agent())
        ingress.sign_in.note_later(user_id, "ssh.connect", resource, visitor, "ok")
        with suppress(CoditectError):
            now = ingress.deps.clock.now()
            await ingress.deps.ssh_keys.note_use(user_id, shown.key.fingerprint, now=now)
        return session.session_id

    def _sit(self, user_id: str) -> bool:
        refusal = self._seats.sit(user_id)
        if refusal is None:
            self._seated = user_id
        elif self._connection is not None:
            self._connection.disconnect(asyncssh.DISC_TOO_MANY_CONNECTIONS, refusal)
        return refusal is None

    def _explain(self) -> None:
        """Say once what a user name means: a client that is refused prints nothing of use by itself."""
        if not self._explained and self._connection is not None:
            self._explained = True
            with suppress(OSError):
                self._connection.send_auth_banner(_UNKNOWN)

    def _agent(self) -> str:
        if self._connection is None:
            return ""
        return str(self._connection.get_extra_info("client_version", ""))

    def _leave_place(self) -> None:
        if self._place is not None:
            self._seats.leave(self._place)
            self._place = None

    # ---- what it wants --------------------------------------------------------------------------

    def session_requested(self) -> Any:
        """Return a channel for a program, and what serves it. Raises ChannelOpenError."""
        visit = self._entered()
        visit.take_channel()
        return visit.connection.new_channel(), Program(visit)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Any:
        """Return what carries a connection to a port inside. Raises ChannelOpenError."""
        visit = self._entered()
        if dest_host.lower() not in LOCAL_NAMES:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED,
                "forwarding reaches the workspace's own localhost only",
            )
        if not 0 < dest_port < 1 << 16:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "no such port")
        visit.take_channel()
        return visit.connection.new_tunnel(), open_forward(visit, dest_port)

    async def server_requested(self, listen_host: str, listen_port: int) -> Any:
        """Return a listener inside, or False. Raises OSError when there is none to be had."""
        visit = self._visit
        if visit is None or listen_host not in LOCAL_NAMES or not 0 <= listen_port < 1 << 16:
            return False
        if self._listeners >= MAX_LISTENERS:
            return False
        self._listeners += 1
        connection, asked = visit.connection, listen_port

        async def reach(made: Forward, came: dict[str, Any]) -> None:
            port = asked or listener.get_port()
            await connection.create_connection(
                lambda: made, listen_host, port, came["host"], came["port"]
            )

        with visit.preparing():
            listener = await RemoteListener.open(visit, str(listen_port), reach)
        return listener

    def unix_connection_requested(self, dest_path: str) -> Any:
        """Return what carries a connection to a Unix socket inside. Raises ChannelOpenError."""
        visit = self._entered()
        if not _is_path(dest_path):
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "no such path")
        visit.take_channel()
        return visit.connection.new_socket_tunnel(), open_unix_forward(visit, dest_path)

    async def unix_server_requested(self, listen_path: str) -> Any:
        """Return a listener at a path inside, or False. Raises OSError when there is none to be had."""
        visit = self._visit
        if visit is None or not _is_path(listen_path) or self._listeners >= MAX_LISTENERS:
            return False
        self._listeners += 1

        async def reach(made: Any, _came: dict[str, Any]) -> None:
            await visit.connection.create_unix_connection(lambda: made, listen_path)

        with visit.preparing():
            return await RemoteListener.open(visit, f"unix:{listen_path}", reach)

    async def agent_requested(self) -> bool:
        """Let programs inside use the client's agent, since the client says so; one for all channels."""
        visit = self._visit
        if visit is None:
            return False
        with visit.preparing():
            async with self._agent_lock:
                if self._agent_listener is None or self._agent_listener.is_over:
                    self._agent_listener = None
                    try:
                        self._agent_listener = await RemoteListener.open(
                            visit, "agent", lambda made, _came: visit.connection.reach_agent(made)
                        )
                    except OSError as error:
                        logger.info("no agent is forwarded", reason=str(error))
                        return False
                visit.agent_path = self._agent_listener.path
        return True

    def _entered(self) -> Visit:
        if self._visit is None:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "the connection is being closed"
            )
        return self._visit


def _is_path(path: str) -> bool:
    """Return whether a socket can have that address (unix(7))."""
    return 0 < len(path.encode()) <= MAX_SOCKET_PATH and "\0" not in path
