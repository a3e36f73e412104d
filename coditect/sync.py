"""The same client for code without an event loop: each call runs on a loop in a thread of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, ParamSpec, Self, TypeVar

from anyio import to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from coditect.client import DEFAULT_TIMEOUT_SECONDS, AsyncClient
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

P = ParamSpec("P")
T = TypeVar("T")


class Client:
    """Blocking twin of ``AsyncClient``: the same calls, the same errors."""

    def __init__(
        self,
        url: str,
        *,
        access_token: str | None = None,
        refresh_token: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self._portal_context: AbstractContextManager[BlockingPortal] = start_blocking_portal()
        self._portal = self._portal_context.__enter__()
        self._client: AsyncClient = self._portal.call(
            lambda: AsyncClient(
                url,
                access_token=access_token,
                refresh_token=refresh_token,
                timeout_seconds=timeout_seconds,
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and the thread; sessions go on."""
        self._call(self._client.close)
        self._portal_context.__exit__(None, None, None)

    @property
    def access_token(self) -> str | None:
        """The current access token."""
        return self._client.access_token

    @property
    def refresh_token(self) -> str | None:
        """The current refresh token; it changes with every refresh."""
        return self._client.refresh_token

    def login(self, email: str, password: str) -> Login:
        """Sign in and open the user's session."""
        return self._call(self._client.login, email, password)

    def refresh(self) -> None:
        """Trade the refresh token for a new pair."""
        self._call(self._client.refresh)

    def logout(self) -> None:
        """Revoke this login's tokens; the session goes on."""
        self._call(self._client.logout)

    def me(self) -> User:
        """Return who is signed in, what they have and may have (``usage``)."""
        return self._call(self._client.me)

    def change_password(self, current_password: str, new_password: str) -> None:
        """Change one's own password: all other logins of the account end, this one goes on."""
        self._call(self._client.change_password, current_password, new_password)

    def create_user(self, email: str, password: str, role: str = "user") -> User:
        """Create a user (administrators only)."""
        return self._call(self._client.create_user, email, password, role)

    def users(self) -> Iterator[User]:
        """Yield all accounts, with what they have and may have (administrators only)."""
        yield from self._each(self._client.users())

    def set_quotas(self, user_id: str, **limits: int | None) -> User:
        """Set limits of one user (administrators only); see ``AsyncClient.set_quotas``."""
        return self._call(self._client.set_quotas, user_id, **limits)

    def overview(self) -> dict[str, Any]:
        """Return what operators see of the whole server (administrators only)."""
        return self._call(self._client.overview)

    def backups(self) -> Backups:
        """Return the backups of the server, and what is being made (administrators only)."""
        return self._call(self._client.backups)

    def start_backup(self) -> Backups:
        """Have a backup of the server made, unless one is (administrators only)."""
        return self._call(self._client.start_backup)

    def audit(self, limit: int = 100) -> list[dict[str, Any]]:
        """Return the newest lines of the audit trail, newest first (administrators only)."""
        return self._call(self._client.audit, limit)

    def sessions(self) -> list[Session]:
        """List the user's live sessions."""
        return self._call(self._client.sessions)

    def open_session(self, name: str = "default", *, key: str | None = None) -> Session:
        """Open the session of that name: attach, resume or create."""
        return self._call(self._client.open_session, name, key=key)

    def session(self, session_id: str) -> Session:
        """Return a session's details."""
        return self._call(self._client.session, session_id)

    def end_session(self, session_id: str) -> None:
        """End the session and delete its workspace."""
        self._call(self._client.end_session, session_id)

    def hibernate(self, session_id: str) -> Session:
        """Stop the container and keep the session."""
        return self._call(self._client.hibernate, session_id)

    def resume(self, session_id: str) -> Session:
        """Bring a hibernated session back."""
        return self._call(self._client.resume, session_id)

    def keep_awake(self, session_id: str, seconds: float) -> Idle:
        """Keep a session from hibernating by itself for some time from now; 0 takes that back."""
        return self._call(self._client.keep_awake, session_id, seconds)

    def patch_workspace_state(self, session_id: str, patch: Mapping[str, Any]) -> Session:
        """Merge into the session's ``workspace_state`` (RFC 7396)."""
        return self._call(self._client.patch_workspace_state, session_id, patch)

    def exec(
        self,
        session_id: str,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_seconds: float = 30.0,
    ) -> ExecResult:
        """Run a command in the workspace and wait for it; killed after ``timeout_seconds``."""
        return self._call(
            self._client.exec, session_id, argv, cwd=cwd, env=env, timeout_seconds=timeout_seconds
        )

    def tree(self, session_id: str, path: str = "") -> list[TreeEntry]:
        """List a directory."""
        return self._call(self._client.tree, session_id, path)

    def read_file(self, session_id: str, path: str, *, version: int | None = None) -> bytes:
        """Return a whole file, as it is or as of a kept version."""
        return self._call(self._client.read_file, session_id, path, version=version)

    def history(
        self, session_id: str, path: str, *, before: int | None = None, limit: int = 100
    ) -> list[FileVersion]:
        """List the kept versions of a file, the newest first."""
        return self._call(self._client.history, session_id, path, before=before, limit=limit)

    def restore_file(
        self,
        session_id: str,
        path: str,
        version: int,
        *,
        target: str | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Put a file back as it was at a version, or its like under the path ``target``."""
        return self._call(
            self._client.restore_file, session_id, path, version, target=target, key=key
        )

    def stream_file(
        self, session_id: str, path: str, *, version: int | None = None
    ) -> Iterator[bytes]:
        """Yield a file's bytes piece by piece, as it is or as of a kept version."""
        yield from self._each(self._client.stream_file(session_id, path, version=version))

    def write_file(
        self,
        session_id: str,
        path: str,
        data: bytes | BinaryIO,
        *,
        if_match: str | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Save a file (an open one is streamed); the receipt comes when it is durable.

        ``if_match`` is an etag, or ``*``.
        """
        content = data if isinstance(data, bytes) else _pieces(data)
        return self._call(
            self._client.write_file, session_id, path, content, if_match=if_match, key=key
        )

    def delete_file(self, session_id: str, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a link or, with ``recursive``, a directory."""
        self._call(self._client.delete_file, session_id, path, recursive=recursive)

    def terminals(self, session_id: str) -> list[TerminalInfo]:
        """List the session's terminals."""
        return self._call(self._client.terminals, session_id)

    def output(self, session_id: str, name: str = "main", *, offset: int = 0) -> Iterator[bytes]:
        """Yield what a terminal has printed from byte ``offset`` on, as far as it is kept."""
        yield from self._each(self._client.output(session_id, name, offset=offset))

    def end_terminal(self, session_id: str, name: str) -> None:
        """Hang up a terminal, and forget what it printed."""
        self._call(self._client.end_terminal, session_id, name)

    def terminal(
        self,
        session_id: str,
        name: str = "main",
        *,
        cols: int = 80,
        rows: int = 24,
        offset: int | None = None,
        client_id: str | None = None,
    ) -> Terminal:
        """Attach to a terminal, starting its shell if there is none; it resumes by itself."""
        attached = self._call(
            self._client.terminal,
            session_id,
            name,
            cols=cols,
            rows=rows,
            offset=offset,
            client_id=client_id,
        )
        return Terminal(self._portal, attached)

    def _each(self, pieces: AsyncIterator[T]) -> Iterator[T]:
        while (piece := self._call(_next, pieces)) is not None:
            yield piece

    def _call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return _run(self._portal, function, *args, **kwargs)


class Terminal:
    """Blocking twin of ``AsyncTerminal``."""

    def __init__(self, portal: BlockingPortal, terminal: AsyncTerminal) -> None:
        self._portal = portal
        self._terminal = terminal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def offset(self) -> int:
        """The number of the next output byte."""
        return self._terminal.offset

    @property
    def status(self) -> str:
        """What the connection and the session are doing."""
        return self._terminal.status

    @property
    def events(self) -> list[dict[str, Any]]:
        """The last control frames and gaps, newest last."""
        return list(self._terminal.events)

    def read(self, timeout_seconds: float = 30.0) -> bytes:
        """Return the next output; raises TerminalClosed at the end, TimeoutError when none comes."""
        return _run(self._portal, self._terminal.read, timeout_seconds)

    def read_until(self, pattern: bytes, timeout_seconds: float = 30.0) -> bytes:
        """Return output up to and including ``pattern``; what follows stays for the next read."""
        return _run(self._portal, self._terminal.read_until, pattern, timeout_seconds)

    def send(self, data: bytes | str) -> None:
        """Type."""
        _run(self._portal, self._terminal.send, data)

    def resize(self, cols: int, rows: int) -> None:
        """Tell the shell its new size in characters."""
        _run(self._portal, self._terminal.resize, cols, rows)

    def close(self) -> None:
        """Detach; the shell goes on."""
        _run(self._portal, self._terminal.close)


def _run(
    portal: BlockingPortal, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    async def call() -> T:
        return await function(*args, **kwargs)

    return portal.call(call)


async def _next(pieces: AsyncIterator[T]) -> T | None:
    return await anext(pieces, None)


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await to_thread.run_sync(file.read, 1 << 18):
        yield piece
