"""Asynchronous client of the HTTP API."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from coditect import addresses
from coditect.connection import DEFAULT_TIMEOUT_SECONDS, Connection, new_key
from coditect.emulator import Emulator
from coditect.errors import ConnectionFailed, InvalidRequest, ServerBusy, from_refusal
from coditect.models import (
    Backups,
    Container,
    ExecResult,
    FileVersion,
    Idle,
    Login,
    Process,
    Receipt,
    Session,
    TerminalInfo,
    TreeEntry,
    User,
)
from coditect.terminal import AsyncTerminal
from coditect.terminal_state import AUTOMATION_PREFIX
from coditect.upload import Upload


class AsyncClient(Connection):
    """One signed-in user of one server.

    Not tied to a session: calls name the session they mean. An expired access token is refreshed
    once by itself, and a server that answers 429, or 503 with ``Retry-After``, is asked again when it
    says, for up to ``retry_seconds`` a call. Raises the errors of ``coditect.errors``; a
    ``ConnectionFailed`` on a mutating call is safe to repeat with the same ``key`` (sent as
    ``Idempotency-Key``).
    """

    # Identity

    async def login(self, email: str, password: str) -> Login:
        """Sign in and open the user's session."""
        answer = await self._request(
            "POST",
            "/api/v1/auth/login",
            json={"email": email, "password": password},
            signed=False,
            key=new_key(),
        )
        login = Login.from_json(answer.json())
        self.access_token, self.refresh_token = login.access_token, login.refresh_token
        return login

    async def logout(self) -> None:
        """Revoke this login's tokens; the session goes on."""
        body = {"refresh_token": self.refresh_token} if self.refresh_token else {}
        await self._request("POST", "/api/v1/auth/logout", json=body)
        self.access_token = self.refresh_token = None

    async def me(self) -> User:
        """Return who is signed in, what they have and may have (``usage``)."""
        return User.from_json((await self._request("GET", "/api/v1/auth/me")).json())

    async def change_password(self, current_password: str, new_password: str) -> None:
        """Change one's own password: all other logins of the account end, this one goes on.

        Raises Forbidden with the code ``wrong_password`` when the current one is not right.
        """
        body = {"current_password": current_password, "new_password": new_password}
        await self._request("POST", "/api/v1/auth/password", json=body)

    async def providers(self) -> list[str]:
        """List the ways to sign in other than by password."""
        answer = await self._request("GET", "/api/v1/auth/providers", signed=False)
        names: list[str] = answer.json()["providers"]
        return names

    async def ticket(self) -> str:
        """Return a ticket that opens one socket within 30 s: ``?ticket=…``, for who can set no header."""
        return str((await self._request("POST", "/api/v1/auth/ticket")).json()["ticket"])

    # Administration

    async def create_user(self, email: str, password: str, role: str = "user") -> User:
        """Create a user (administrators only)."""
        body = {"email": email, "password": password, "role": role}
        return User.from_json((await self._request("POST", "/api/admin/users", json=body)).json())

    async def users(self, *, email: str | None = None) -> AsyncIterator[User]:
        """Yield accounts, all or that of an address, with what they may have (administrators only)."""
        after: str | None = None
        while True:
            given = {"after": after, "email": email}
            parameters = {name: value for name, value in given.items() if value is not None}
            answer = await self._request("GET", "/api/admin/users", params=parameters)
            body = answer.json()
            for each in body["users"]:
                yield User.from_json(each)
            after = body.get("next")
            if after is None:
                return

    async def change_user(
        self,
        user_id: str,
        *,
        password: str | None = None,
        role: str | None = None,
        disabled: bool | None = None,
    ) -> User:
        """Change what is given of an account (administrators only).

        ``disabled`` ends its logins, and False lets it sign in again.
        """
        given = {"password": password, "role": role, "disabled": disabled}
        answer = await self._request(
            "PATCH",
            f"/api/admin/users/{addresses.segment(user_id, 'user_id')}",
            json={name: value for name, value in given.items() if value is not None},
            key=new_key(),
        )
        return User.from_json(answer.json())

    async def disable_user(self, user_id: str) -> None:
        """Let nobody sign in with an account any more; what it has is kept (administrators only)."""
        await self._request(
            "DELETE", f"/api/admin/users/{addresses.segment(user_id, 'user_id')}", key=new_key()
        )

    async def set_quotas(self, /, user_id: str, **limits: int | None) -> User:
        """Set limits of one user (administrators only).

        ``limits``: ``file_bytes``, ``files``, ``journal_bytes``, ``containers``, ``sessions``; 0 is
        unlimited, None what the server's settings say.
        """
        answer = await self._request(
            "PATCH",
            f"/api/admin/users/{addresses.segment(user_id, 'user_id')}",
            json={"quotas": limits},
            key=new_key(),
        )
        return User.from_json(answer.json())

    async def is_alive(self) -> bool:
        """Check that the server answers; needs no login. Raises ConnectionFailed when it is out of reach."""
        await self._request("GET", "/healthz", signed=False)
        return True

    async def is_ready(self) -> bool:
        """Return whether the server can serve people now; needs no login."""
        try:
            await self._request("GET", "/readyz", signed=False)
        except ServerBusy:
            return False
        return True

    async def health(self) -> dict[str, Any]:
        """Return how every component of the server is; needs no login.

        Raises ServerBusy when a vital one is down; its ``problem`` is the same document.
        """
        answer = await self._request("GET", "/api/admin/health", signed=False)
        body: dict[str, Any] = answer.json()
        return body

    async def metrics(self) -> str:
        """Return all metrics of the server in Prometheus' text format (administrators only)."""
        return (await self._request("GET", "/api/admin/metrics")).text

    async def all_sessions(self) -> AsyncIterator[Session]:
        """Yield the live sessions of all users (administrators only)."""
        after: str | None = None
        while True:
            parameters = {} if after is None else {"after": after}
            answer = await self._request("GET", "/api/admin/sessions", params=parameters)
            body = answer.json()
            for each in body["sessions"]:
                yield Session.from_json(each)
            after = body.get("next")
            if after is None:
                return

    async def all_containers(self) -> list[Container]:
        """List all containers that have not been stopped (administrators only)."""
        body = (await self._request("GET", "/api/admin/containers")).json()
        return [Container.from_json(item) for item in body["containers"]]

    async def overview(self) -> dict[str, Any]:
        """Return what operators see of the whole server (administrators only)."""
        body: dict[str, Any] = (await self._request("GET", "/api/admin/overview")).json()
        return body

    async def backups(self) -> Backups:
        """Return the backups of the server, and what is being made (administrators only)."""
        return Backups.from_json((await self._request("GET", "/api/admin/backups")).json())

    async def start_backup(self) -> Backups:
        """Have a backup of the server made, unless one is (administrators only)."""
        answer = await self._request("POST", "/api/admin/backups", key=new_key())
        return Backups.from_json(answer.json())

    async def audit(
        self,
        limit: int = 100,
        *,
        before: str | None = None,
        after: str | None = None,
        user_id: str | None = None,
        action: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return lines of the audit trail, newest first (administrators only).

        The newest, or those ``before`` a line, or the next ones ``after`` it, by its ``id``; of one user,
        or one action or family of them (``exec``, ``file``).
        """
        wanted = {"before": before, "after": after, "user_id": user_id, "action": action}
        parameters = {name: value for name, value in wanted.items() if value is not None}
        answer = await self._request(
            "GET", "/api/admin/audit", params={"limit": str(limit)} | parameters
        )
        lines: list[dict[str, Any]] = answer.json()["entries"]
        return lines

    # Sessions

    async def sessions(self) -> list[Session]:
        """List the user's live sessions."""
        body = (await self._request("GET", "/api/v1/sessions")).json()
        return [Session.from_json(item) for item in body["sessions"]]

    async def open_session(self, name: str = "default", *, key: str | None = None) -> Session:
        """Open the session of that name: attach, resume or create."""
        answer = await self._request(
            "POST", "/api/v1/sessions", json={"name": name}, key=key or new_key()
        )
        return Session.from_json(answer.json())

    async def session(self, session_id: str) -> Session:
        """Return a session's details."""
        return Session.from_json((await self._request("GET", self._session(session_id))).json())

    async def end_session(self, session_id: str) -> None:
        """End the session and delete its workspace."""
        await self._request("DELETE", self._session(session_id), key=new_key())

    async def hibernate(self, session_id: str) -> Session:
        """Stop the container and keep the session."""
        answer = await self._request("POST", self._session(session_id, "hibernate"), key=new_key())
        return Session.from_json(answer.json())

    async def resume(self, session_id: str) -> Session:
        """Bring a hibernated session back."""
        answer = await self._request("POST", self._session(session_id, "resume"), key=new_key())
        return Session.from_json(answer.json())

    async def keep_awake(self, session_id: str, seconds: float) -> Idle:
        """Keep a session from hibernating by itself for some time from now; 0 takes that back."""
        answer = await self._request(
            "POST", self._session(session_id, "keep-awake"), json={"seconds": seconds}
        )
        return Idle.from_json(answer.json())

    async def patch_workspace_state(self, session_id: str, patch: Mapping[str, Any]) -> Session:
        """Merge into the session's ``workspace_state`` (RFC 7396)."""
        answer = await self._request(
            "PATCH",
            self._session(session_id),
            json={"workspace_state": dict(patch)},
            key=new_key(),
        )
        return Session.from_json(answer.json())

    async def containers(self) -> list[Container]:
        """List the containers of the user's sessions."""
        body = (await self._request("GET", "/api/v1/containers")).json()
        return [Container.from_json(item) for item in body["containers"]]

    async def launch_container(
        self, name: str | None = None, *, key: str | None = None
    ) -> Container:
        """Launch a container with a session of its own, or return that of the session so named."""
        answer = await self._request(
            "POST",
            "/api/v1/containers",
            json={} if name is None else {"name": name},
            key=key or new_key(),
        )
        return Container.from_json(answer.json())

    async def events(self, session_id: str) -> AsyncIterator[dict[str, Any]]:
        """Yield what happens to a session, as JSON objects with a ``type``, until the connection ends.

        Raises ConnectionFailed when it breaks; whoever goes on then asks for the session's details, as
        something may have been missed.
        """
        url = self._socket_url(self._session(session_id, "events"))
        try:
            async with connect(url, additional_headers=self._headers(), max_size=4 << 20) as socket:
                async for message in socket:
                    yield json.loads(message)
        except InvalidStatus as refused:
            raise from_refusal(refused) from refused
        except (OSError, TimeoutError, WebSocketException) as error:
            raise ConnectionFailed(url, str(error) or type(error).__name__) from error

    # Work

    async def exec(
        self,
        session_id: str,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout_seconds: float = 30.0,
    ) -> ExecResult:
        """Run a command in the workspace and wait for it; killed after ``timeout_seconds``.

        What it leaves in the background goes on. Bytes that are no UTF-8 are lone surrogates, as of
        ``os.fsdecode``. Raises TypeError for arguments that are no sequence of strings: a line of shell is
        ``["bash", "-c", line]``.
        """
        if isinstance(argv, str | bytes) or not all(isinstance(part, str) for part in argv):
            raise TypeError(f"argv is a sequence of strings, the program first, not {argv!r}")
        body: dict[str, Any] = {"argv": list(argv), "timeout_seconds": timeout_seconds}
        if stdin is not None:
            body["stdin"] = stdin
        if cwd is not None:
            body["cwd"] = cwd
        if env is not None:
            body["env"] = dict(env)
        answer = await self._request(
            "POST",
            self._session(session_id, "exec"),
            json=body,
            timeout=timeout_seconds + self.timeout_seconds,
        )
        return ExecResult.from_json(answer.json())

    async def processes(self, session_id: str) -> list[Process]:
        """List the processes of the session's container."""
        body = (await self._request("GET", self._session(session_id, "processes"))).json()
        return [Process.from_json(item) for item in body["processes"]]

    async def tree(self, session_id: str, path: str = "") -> list[TreeEntry]:
        """List a directory, all of it, in the order of the names' bytes."""
        target = self._session(session_id, f"tree/{addresses.path(path)}")
        found: list[TreeEntry] = []
        after: str | None = ""
        while after is not None:
            query = f"?after={addresses.value(after)}" if after else ""
            page = (await self._request("GET", target + query)).json()
            found += [TreeEntry.from_json(item) for item in page["entries"]]
            after = page.get("next")
        return found

    async def read_file(self, session_id: str, path: str, *, version: int | None = None) -> bytes:
        """Return a whole file, as it is or as of a kept version."""
        parameters = {} if version is None else {"version": version}
        target = self._file(session_id, path)
        return (await self._request("GET", target, params=parameters)).content

    async def history(
        self, session_id: str, path: str, *, before: int | None = None, limit: int = 100
    ) -> list[FileVersion]:
        """List the kept versions of a file, the newest first."""
        target = self._session(session_id, f"history/{_file_path(path)}")
        parameters = {"limit": limit} | ({} if before is None else {"before": before})
        answer = await self._request("GET", target, params=parameters)
        return [FileVersion.from_json(item) for item in answer.json()["versions"]]

    async def restore_file(
        self,
        session_id: str,
        path: str,
        version: int,
        *,
        target: str | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Put a file back as it was at a version, or its like under the path ``target``."""
        body = {"path": path, "version": version} | ({"target": target} if target else {})
        url = self._session(session_id, "restore")
        answer = await self._request("POST", url, json=body, key=key or new_key())
        return Receipt.from_json(answer.json())

    async def stream_file(
        self, session_id: str, path: str, *, version: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield a file's bytes piece by piece, as it is or as of a kept version."""
        parameters = {} if version is None else {"version": version}
        target = self._file(session_id, path)
        async for piece in self._stream(target, parameters):
            yield piece

    async def stream_directory(self, session_id: str, path: str = "") -> AsyncIterator[bytes]:
        """Yield a directory with all that is in it as a tar stream; one that breaks off is not whole."""
        async for piece in self._stream(
            self._session(session_id, f"archive/{addresses.path(path)}")
        ):
            yield piece

    async def write_file(
        self,
        session_id: str,
        path: str,
        data: bytes | BinaryIO | Iterator[bytes] | AsyncIterator[bytes],
        *,
        if_match: str | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Save a file; the receipt comes when it is durable. ``if_match`` is an etag, or ``*``.

        An open file is read from where it stands, piece by piece; an iterator yields pieces.
        """
        headers = {"if-match": if_match} if if_match else {}
        answer = await self._request(
            "PUT",
            self._file(session_id, path),
            content=data if isinstance(data, bytes) else Upload(data),
            headers=headers,
            key=key or new_key(),
        )
        return Receipt.from_json(answer.json())

    async def delete_file(self, session_id: str, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a link or, with ``recursive``, a directory."""
        parameters = {"recursive": "1"} if recursive else {}
        await self._request(
            "DELETE", self._file(session_id, path), params=parameters, key=new_key()
        )

    async def move(
        self, session_id: str, source: str, target: str, *, overwrite: bool = False
    ) -> None:
        """Rename a file or a directory."""
        body = {"source": source, "target": target, "overwrite": overwrite}
        url = self._session(session_id, "move")
        await self._request("POST", url, json=body)

    async def make_directory(self, session_id: str, path: str) -> bool:
        """Make a directory, with its parents; say whether it was not there before."""
        url = self._session(session_id, "directories")
        answer = await self._request("POST", url, json={"path": path}, key=new_key())
        return answer.status_code == 201

    # Terminals

    async def terminals(self, session_id: str) -> list[TerminalInfo]:
        """List the session's terminals."""
        body = (await self._request("GET", self._session(session_id, "terminals"))).json()
        return [TerminalInfo.from_json(item) for item in body["terminals"]]

    async def start_terminal(
        self,
        session_id: str,
        name: str,
        *,
        cols: int | None = None,
        rows: int | None = None,
        cwd: str | None = None,
    ) -> TerminalInfo:
        """Start a terminal without attaching to it; one that is there already stays as it is."""
        given = {"name": name, "cols": cols, "rows": rows, "cwd": cwd}
        answer = await self._request(
            "POST",
            self._session(session_id, "terminals"),
            json={name: value for name, value in given.items() if value is not None},
            key=new_key(),
        )
        return TerminalInfo.from_json(answer.json())

    async def output(
        self, session_id: str, name: str = "main", *, offset: int = 0
    ) -> AsyncIterator[bytes]:
        """Yield what a terminal has printed from byte ``offset`` on, as far as it is kept.

        Needs no running container. Raises NotFound for a terminal that never was.
        """
        path = self._session(session_id, f"terminals/{addresses.segment(name)}/output")
        async for part in self._stream(path, {"offset": offset}):
            yield part

    async def end_terminal(self, session_id: str, name: str) -> None:
        """Hang up a terminal, and forget what it printed."""
        url = self._session(session_id, f"terminals/{addresses.segment(name)}")
        await self._request("DELETE", url, key=new_key())

    async def terminal(
        self,
        session_id: str,
        name: str | None = None,
        *,
        cols: int | None = None,
        rows: int | None = None,
        offset: int | None = None,
        emulator: bool = False,
        label: str = "",
        client_id: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        give_up_seconds: float = 60.0,
    ) -> AsyncTerminal:
        """Attach to a terminal; it resumes by itself.

        Without a ``name`` it is a new one for this program alone: pages do not show it, its prompt is
        ``$ `` and has been read already, and closing it ends its shell and forgets it. With a name,
        as ``main``, it is a person's as well: its shell is started if there is none, what it printed
        from byte ``offset`` on comes first (None: everything kept), and closing only detaches.
        ``cols`` and ``rows`` claim a size, as somebody who looks at it. ``emulator``: what is read is
        shown by one, whose answers are sent: it gets no question that is not its own to answer.
        ``label`` is what people at other windows of the terminal see of this one (64 characters).
        ``give_up_seconds``: how long it tries to get a lost connection back before it is closed.
        """
        own = name is None
        if own and offset is not None:
            raise ValueError("offset: of which terminal? give its name")
        name = name or f"{AUTOMATION_PREFIX}{secrets.token_hex(6)}"
        terminal = AsyncTerminal(
            self._socket_url(self._session(session_id, f"terminals/{addresses.segment(name)}/ws")),
            headers=self._headers,
            renew=self.refresh,
            client_id=client_id or f"py-{secrets.token_hex(8)}",
            cols=cols,
            rows=rows,
            offset=offset,
            give_up_seconds=give_up_seconds,
            forget=(lambda: self.end_terminal(session_id, name)) if own else None,
            emulator=Emulator() if emulator else None,
            label=label,
        )
        await terminal.connect(timeout_seconds)
        self._attached.add(terminal)
        return terminal

    @staticmethod
    def _session(session_id: str, rest: str = "") -> str:
        place = f"/api/v1/sessions/{addresses.segment(session_id, 'session_id')}"
        return f"{place}/{rest}" if rest else place

    def _file(self, session_id: str, path: str) -> str:
        return self._session(session_id, f"files/{_file_path(path)}")


def _file_path(path: str) -> str:
    if not path.strip("/"):
        raise InvalidRequest(400, "invalid_argument", "path: the path of a file in the workspace")
    return addresses.path(path)
