"""Asynchronous client of the HTTP API."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import httpx

from coditect import addresses
from coditect.errors import ConnectionFailed, InvalidRequest, Unauthorized, from_problem
from coditect.models import (
    Backups,
    ExecResult,
    FileVersion,
    Idle,
    Login,
    Receipt,
    Session,
    TerminalInfo,
    TreeEntry,
    User,
)
from coditect.terminal import AsyncTerminal

DEFAULT_TIMEOUT_SECONDS = 30.0


class AsyncClient:
    """One signed-in user of one server.

    Not tied to a session: calls name the session they mean. An expired access token is refreshed
    once by itself. Raises the errors of ``coditect.errors``; a ``ConnectionFailed`` on a mutating
    call is safe to repeat with the same ``key`` (sent as ``Idempotency-Key``).
    """

    def __init__(
        self,
        url: str,
        *,
        access_token: str | None = None,
        refresh_token: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self.url = url.rstrip("/")
        self.access_token = access_token
        self.refresh_token = refresh_token
        self.timeout_seconds = timeout_seconds
        self._http = httpx.AsyncClient(
            base_url=self.url,
            timeout=httpx.Timeout(timeout_seconds, pool=timeout_seconds),
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; sessions go on."""
        await self._http.aclose()

    # Identity

    async def login(self, email: str, password: str) -> Login:
        """Sign in and open the user's session."""
        answer = await self._request(
            "POST", "/api/v1/auth/login", json={"email": email, "password": password}, signed=False
        )
        login = Login.from_json(answer.json())
        self.access_token, self.refresh_token = login.access_token, login.refresh_token
        return login

    async def refresh(self) -> None:
        """Trade the refresh token for a new pair."""
        if self.refresh_token is None:
            raise Unauthorized(401, "unauthenticated", "sign in first")
        answer = await self._request(
            "POST", "/api/v1/auth/refresh", json={"refresh_token": self.refresh_token}, signed=False
        )
        body = answer.json()
        self.access_token, self.refresh_token = body["access_token"], body["refresh_token"]

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

    async def create_user(self, email: str, password: str, role: str = "user") -> User:
        """Create a user (administrators only)."""
        body = {"email": email, "password": password, "role": role}
        return User.from_json((await self._request("POST", "/api/admin/users", json=body)).json())

    async def users(self) -> AsyncIterator[User]:
        """Yield all accounts, with what they have and may have (administrators only)."""
        after: str | None = None
        while True:
            parameters = {} if after is None else {"after": after}
            answer = await self._request("GET", "/api/admin/users", params=parameters)
            body = answer.json()
            for each in body["users"]:
                yield User.from_json(each)
            after = body.get("next")
            if after is None:
                return

    async def set_quotas(self, user_id: str, **limits: int | None) -> User:
        """Set limits of one user (administrators only).

        ``limits``: ``file_bytes``, ``files``, ``journal_bytes``, ``containers``, ``sessions``; 0 is
        unlimited, None what the server's settings say.
        """
        answer = await self._request(
            "PATCH",
            f"/api/admin/users/{addresses.segment(user_id, 'user_id')}",
            json={"quotas": limits},
            key=_new_key(),
        )
        return User.from_json(answer.json())

    async def overview(self) -> dict[str, Any]:
        """Return what operators see of the whole server (administrators only)."""
        body: dict[str, Any] = (await self._request("GET", "/api/admin/overview")).json()
        return body

    async def backups(self) -> Backups:
        """Return the backups of the server, and what is being made (administrators only)."""
        return Backups.from_json((await self._request("GET", "/api/admin/backups")).json())

    async def start_backup(self) -> Backups:
        """Have a backup of the server made, unless one is (administrators only)."""
        answer = await self._request("POST", "/api/admin/backups", key=_new_key())
        return Backups.from_json(answer.json())

    async def audit(self, limit: int = 100) -> list[dict[str, Any]]:
        """Return the newest lines of the audit trail, newest first (administrators only)."""
        answer = await self._request("GET", "/api/admin/audit", params={"limit": limit})
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
            "POST", "/api/v1/sessions", json={"name": name}, key=key or _new_key()
        )
        return Session.from_json(answer.json())

    async def session(self, session_id: str) -> Session:
        """Return a session's details."""
        return Session.from_json((await self._request("GET", self._session(session_id))).json())

    async def end_session(self, session_id: str) -> None:
        """End the session and delete its workspace."""
        await self._request("DELETE", self._session(session_id), key=_new_key())

    async def hibernate(self, session_id: str) -> Session:
        """Stop the container and keep the session."""
        answer = await self._request("POST", self._session(session_id, "hibernate"), key=_new_key())
        return Session.from_json(answer.json())

    async def resume(self, session_id: str) -> Session:
        """Bring a hibernated session back."""
        answer = await self._request("POST", self._session(session_id, "resume"), key=_new_key())
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
            key=_new_key(),
        )
        return Session.from_json(answer.json())

    # Work

    async def exec(
        self,
        session_id: str,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_seconds: float = 30.0,
    ) -> ExecResult:
        """Run a command in the workspace and wait for it; killed after ``timeout_seconds``.

        What it leaves in the background goes on. Bytes that are no UTF-8 are lone surrogates, as of
        ``os.fsdecode``. Raises TypeError for arguments that are no sequence of strings.
        """
        if isinstance(argv, str | bytes) or not all(isinstance(part, str) for part in argv):
            raise TypeError(f"argv is a sequence of strings, the program first, not {argv!r}")
        body: dict[str, Any] = {"argv": list(argv), "timeout_seconds": timeout_seconds}
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

    async def tree(self, session_id: str, path: str = "") -> list[TreeEntry]:
        """List a directory."""
        answer = await self._request(
            "GET", self._session(session_id, f"tree/{addresses.path(path)}")
        )
        return [TreeEntry.from_json(item) for item in answer.json()["entries"]]

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
        answer = await self._request("POST", url, json=body, key=key or _new_key())
        return Receipt.from_json(answer.json())

    async def stream_file(
        self, session_id: str, path: str, *, version: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield a file's bytes piece by piece, as it is or as of a kept version."""
        parameters = {} if version is None else {"version": version}
        target = self._file(session_id, path)
        async for piece in self._stream(target, parameters):
            yield piece

    async def write_file(
        self,
        session_id: str,
        path: str,
        data: bytes | AsyncIterator[bytes],
        *,
        if_match: str | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Save a file; the receipt comes when it is durable. ``if_match`` is an etag, or ``*``."""
        headers = {"if-match": if_match} if if_match else {}
        answer = await self._request(
            "PUT",
            self._file(session_id, path),
            content=data,
            headers=headers,
            key=key or _new_key(),
        )
        return Receipt.from_json(answer.json())

    async def delete_file(self, session_id: str, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a link or, with ``recursive``, a directory."""
        parameters = {"recursive": "1"} if recursive else {}
        await self._request(
            "DELETE", self._file(session_id, path), params=parameters, key=_new_key()
        )

    # Terminals

    async def terminals(self, session_id: str) -> list[TerminalInfo]:
        """List the session's terminals."""
        body = (await self._request("GET", self._session(session_id, "terminals"))).json()
        return [TerminalInfo.from_json(item) for item in body["terminals"]]

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
        await self._request("DELETE", url, key=_new_key())

    async def terminal(
        self,
        session_id: str,
        name: str = "main",
        *,
        cols: int = 80,
        rows: int = 24,
        offset: int | None = None,
        client_id: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        give_up_seconds: float = 60.0,
    ) -> AsyncTerminal:
        """Attach to a terminal, starting its shell if there is none; it resumes by itself.

        ``give_up_seconds``: how long it tries to get a lost connection back before it is closed.
        """
        terminal = AsyncTerminal(
            self._socket_url(self._session(session_id, f"terminals/{addresses.segment(name)}/ws")),
            headers=self._headers,
            renew=self.refresh,
            client_id=client_id or f"py-{secrets.token_hex(8)}",
            cols=cols,
            rows=rows,
            offset=offset,
            give_up_seconds=give_up_seconds,
        )
        await terminal.connect(timeout_seconds)
        return terminal

    # Plumbing

    async def _stream(
        self, url: str, parameters: Mapping[str, int] | None = None
    ) -> AsyncIterator[bytes]:
        request = self._http.build_request("GET", url, params=parameters)
        for last in (False, True):
            request.headers.update(self._headers())
            with self._reached():
                answer = await self._http.send(request, stream=True)
            try:
                if (
                    answer.status_code == httpx.codes.UNAUTHORIZED
                    and self.refresh_token
                    and not last
                ):
                    await self.refresh()
                    continue
                with self._reached():
                    if answer.status_code >= 400:
                        await answer.aread()
                        raise _error(answer)
                    async for piece in answer.aiter_bytes():
                        yield piece
                return
            finally:
                await answer.aclose()

    @staticmethod
    def _session(session_id: str, rest: str = "") -> str:
        place = f"/api/v1/sessions/{addresses.segment(session_id, 'session_id')}"
        return f"{place}/{rest}" if rest else place

    def _file(self, session_id: str, path: str) -> str:
        return self._session(session_id, f"files/{_file_path(path)}")

    def _socket_url(self, path: str) -> str:
        return "ws" + self.url.removeprefix("http") + path

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.access_token}"} if self.access_token else {}

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Tell that the server cannot be reached, or that an answer broke off, in the client's words."""
        try:
            yield
        except httpx.TransportError as error:
            raise ConnectionFailed(self.url, str(error) or type(error).__name__) from error

    async def _request(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        signed: bool = True,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> httpx.Response:
        sent = dict(headers or {})
        if key is not None:
            sent["idempotency-key"] = key
        if timeout is not None:
            arguments["timeout"] = timeout
        if "json" in arguments:
            arguments["content"] = addresses.body(arguments.pop("json"))
            sent["content-type"] = "application/json"
        for last in (False, True):
            if signed:
                sent |= self._headers()
            with self._reached():
                answer = await self._http.request(method, path, headers=sent, **arguments)
            repeatable = not isinstance(arguments.get("content"), AsyncIterator)
            if (
                answer.status_code == 401
                and signed
                and not last
                and self.refresh_token
                and repeatable
            ):
                await self.refresh()
                continue
            if answer.status_code >= 400:
                raise _error(answer)
            return answer
        raise AssertionError("unreachable")


def _file_path(path: str) -> str:
    if not path.strip("/"):
        raise InvalidRequest(400, "invalid_argument", "path: the path of a file in the workspace")
    return addresses.path(path)


def _error(answer: httpx.Response) -> Exception:
    try:
        problem = answer.json()
    except ValueError:
        problem = {"detail": answer.text[:500]}
    if not isinstance(problem, dict):
        problem = {"detail": str(problem)[:500]}
    return from_problem(answer.status_code, problem, answer.headers.get("retry-after"))


def _new_key() -> str:
    return secrets.token_hex(16)
