"""The same client for code without an event loop: calls run on a loop in a thread of its own.

The thread ends with the client, with its garbage collection, or with the interpreter: a script need
not close what it made.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, ParamSpec, Self, TypeVar

from coditect.client import AsyncClient
from coditect.connection import DEFAULT_RETRY_SECONDS, DEFAULT_TIMEOUT_SECONDS
from coditect.models import (
    Backups,
    Container,
    ExecResult,
    FileVersion,
    Idle,
    Login,
    Process,
    Receipt,
    RunResult,
    Session,
    TerminalInfo,
    TerminalWindow,
    TreeEntry,
    User,
)
from coditect.terminal import AsyncTerminal

P = ParamSpec("P")
T = TypeVar("T")

_END_SECONDS = 5.0


class Client:
    """Blocking twin of ``AsyncClient``: the same calls, the same errors."""

    def __init__(
        self,
        url: str,
        *,
        access_token: str | None = None,
        refresh_token: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retry_seconds: float = DEFAULT_RETRY_SECONDS,
    ) -> None:
        self._loop = LoopThread()

        async def make() -> AsyncClient:
            return AsyncClient(
                url,
                access_token=access_token,
                refresh_token=refresh_token,
                timeout_seconds=timeout_seconds,
                retry_seconds=retry_seconds,
            )

        try:
            self._client: AsyncClient = self._loop.call(make)
        except BaseException:
            self._loop.end()
            raise
        self._end = weakref.finalize(self, _end, self._loop, self._client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close terminals, connections and the thread; sessions go on. Idempotent."""
        self._end()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._client.url

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

    def providers(self) -> list[str]:
        """List the ways to sign in other than by password."""
        return self._call(self._client.providers)

    def ticket(self) -> str:
        """Return a ticket that opens one socket within 30 s; see ``AsyncClient.ticket``."""
        return self._call(self._client.ticket)

    def create_user(self, email: str, password: str, role: str = "user") -> User:
        """Create a user (administrators only)."""
        return self._call(self._client.create_user, email, password, role)

    def users(self) -> Iterator[User]:
        """Yield all accounts, with what they have and may have (administrators only)."""
        yield from self._each(self._client.users())

    def change_user(
        self,
        user_id: str,
        *,
        password: str | None = None,
        role: str | None = None,
        disabled: bool | None = None,
    ) -> User:
        """Change what is given of an account (administrators only); see ``AsyncClient.change_user``."""
        return self._call(
            self._client.change_user, user_id, password=password, role=role, disabled=disabled
        )

    def disable_user(self, user_id: str) -> None:
        """Let nobody sign in with an account any more; what it has is kept (administrators only)."""
        self._call(self._client.disable_user, user_id)

    def set_quotas(self, user_id: str, **limits: int | None) -> User:
        """Set limits of one user (administrators only); see ``AsyncClient.set_quotas``."""
        return self._call(self._client.set_quotas, user_id, **limits)

    def is_alive(self) -> bool:
        """Say whether the server answers; see ``AsyncClient.is_alive``."""
        return self._call(self._client.is_alive)

    def is_ready(self) -> bool:
        """Say whether the server can serve people now; needs no login."""
        return self._call(self._client.is_ready)

    def health(self) -> dict[str, Any]:
        """Return how every component of the server is; see ``AsyncClient.health``."""
        return self._call(self._client.health)

    def metrics(self) -> str:
        """Return all metrics of the server in Prometheus' text format (administrators only)."""
        return self._call(self._client.metrics)

    def all_sessions(self) -> Iterator[Session]:
        """Yield the live sessions of all users (administrators only)."""
        yield from self._each(self._client.all_sessions())

    def all_containers(self) -> list[Container]:
        """List all containers that have not been stopped (administrators only)."""
        return self._call(self._client.all_containers)

    def overview(self) -> dict[str, Any]:
        """Return what operators see of the whole server (administrators only)."""
        return self._call(self._client.overview)

    def backups(self) -> Backups:
        """Return the backups of the server, and what is being made (administrators only)."""
        return self._call(self._client.backups)

    def start_backup(self) -> Backups:
        """Have a backup of the server made, unless one is (administrators only)."""
        return self._call(self._client.start_backup)

    def audit(
        self,
        limit: int = 100,
        *,
        before: str | None = None,
        after: str | None = None,
        user_id: str | None = None,
        action: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the newest lines of the audit trail, newest first; see ``AsyncClient.audit``."""
        return self._call(
            self._client.audit, limit, before=before, after=after, user_id=user_id, action=action
        )

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

    def containers(self) -> list[Container]:
        """List the containers of the user's sessions."""
        return self._call(self._client.containers)

    def launch_container(self, name: str | None = None, *, key: str | None = None) -> Container:
        """Launch a container with a session of its own, or return that of the session so named."""
        return self._call(self._client.launch_container, name, key=key)

    def events(self, session_id: str) -> Iterator[dict[str, Any]]:
        """Yield what happens to a session until the connection ends; see ``AsyncClient.events``."""
        yield from self._each(self._client.events(session_id))

    def exec(
        self,
        session_id: str,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout_seconds: float = 30.0,
    ) -> ExecResult:
        """Run a program in the workspace and wait for it; see ``AsyncClient.exec``."""
        return self._call(
            self._client.exec,
            session_id,
            argv,
            cwd=cwd,
            env=env,
            stdin=stdin,
            timeout_seconds=timeout_seconds,
        )

    def processes(self, session_id: str) -> list[Process]:
        """List the processes of the session's container."""
        return self._call(self._client.processes, session_id)

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

    def stream_directory(self, session_id: str, path: str = "") -> Iterator[bytes]:
        """Yield a directory with all that is in it as a tar stream; one that breaks off is not whole."""
        yield from self._each(self._client.stream_directory(session_id, path))

    def write_file(
        self,
        session_id: str,
        path: str,
        data: bytes | BinaryIO | Iterator[bytes],
        *,
        if_match: str | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Save a file; the receipt comes when it is durable. ``if_match`` is an etag, or ``*``.

        An open file is read from where it stands, piece by piece.
        """
        return self._call(
            self._client.write_file, session_id, path, _pieces(data), if_match=if_match, key=key
        )

    def delete_file(self, session_id: str, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a link or, with ``recursive``, a directory."""
        self._call(self._client.delete_file, session_id, path, recursive=recursive)

    def move(self, session_id: str, source: str, target: str, *, overwrite: bool = False) -> None:
        """Rename a file or a directory."""
        self._call(self._client.move, session_id, source, target, overwrite=overwrite)

    def make_directory(self, session_id: str, path: str) -> bool:
        """Make a directory, with its parents; say whether it was not there before."""
        return self._call(self._client.make_directory, session_id, path)

    def terminals(self, session_id: str) -> list[TerminalInfo]:
        """List the session's terminals."""
        return self._call(self._client.terminals, session_id)

    def start_terminal(
        self,
        session_id: str,
        name: str,
        *,
        cols: int | None = None,
        rows: int | None = None,
        cwd: str | None = None,
    ) -> TerminalInfo:
        """Start a terminal without attaching to it; one that is there already stays as it is."""
        return self._call(
            self._client.start_terminal, session_id, name, cols=cols, rows=rows, cwd=cwd
        )

    def output(self, session_id: str, name: str = "main", *, offset: int = 0) -> Iterator[bytes]:
        """Yield what a terminal has printed from byte ``offset`` on, as far as it is kept."""
        yield from self._each(self._client.output(session_id, name, offset=offset))

    def end_terminal(self, session_id: str, name: str) -> None:
        """Hang up a terminal, and forget what it printed."""
        self._call(self._client.end_terminal, session_id, name)

    def terminal(
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
    ) -> Terminal:
        """Attach to a terminal, without a ``name`` to one of this program's own.

        See ``AsyncClient.terminal``.
        """
        attached = self._call(
            self._client.terminal,
            session_id,
            name,
            cols=cols,
            rows=rows,
            offset=offset,
            emulator=emulator,
            label=label,
            client_id=client_id,
            timeout_seconds=timeout_seconds,
            give_up_seconds=give_up_seconds,
        )
        return Terminal(self._loop, attached)

    def _each(self, pieces: AsyncIterator[T]) -> Iterator[T]:
        try:
            while (piece := self._call(_next, pieces)) is not None:
                yield piece
        finally:
            if (close := getattr(pieces, "aclose", None)) is not None:
                self._call(close)

    def _call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.call(function, *args, **kwargs)


class Terminal:
    """Blocking twin of ``AsyncTerminal``."""

    def __init__(self, loop: LoopThread, terminal: AsyncTerminal) -> None:
        self._loop = loop
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
    def client_id(self) -> str:
        """The id under which the server counts this client's input."""
        return self._terminal.client_id

    @property
    def is_own(self) -> bool:
        """Whether the terminal is this program's alone."""
        return self._terminal.is_own

    @property
    def status(self) -> str:
        """What the connection and the session are doing."""
        return self._terminal.status

    @property
    def sizing(self) -> str | None:
        """By which rule the terminal is sized; None before the server has said."""
        return self._terminal.sizing

    @property
    def windows(self) -> tuple[TerminalWindow, ...]:
        """The windows that show the terminal now."""
        return self._terminal.windows

    @property
    def events(self) -> list[dict[str, Any]]:
        """The last control frames and gaps, newest last."""
        return list(self._terminal.events)

    def read(self, timeout_seconds: float = 30.0) -> bytes:
        """Return the next output; raises TerminalClosed at the end, TimeoutError when none comes."""
        return self._loop.call(self._terminal.read, timeout_seconds)

    def read_until(self, pattern: bytes, timeout_seconds: float = 30.0) -> bytes:
        """Return output up to and including ``pattern``; what follows stays for the next read."""
        return self._loop.call(self._terminal.read_until, pattern, timeout_seconds)

    def send(self, data: bytes | str) -> None:
        """Type."""
        self._loop.call(self._terminal.send, data)

    def run(self, command: str, *, timeout_seconds: float = 30.0) -> RunResult:
        """Have the shell run a line, or several; return what it printed and its exit status.

        See ``AsyncTerminal.run``.
        """
        return self._loop.call(self._terminal.run, command, timeout_seconds=timeout_seconds)

    def resize(self, cols: int, rows: int) -> None:
        """Tell the shell its new size in characters."""
        self._loop.call(self._terminal.resize, cols, rows)

    def set_sizing(self, rule: str, timeout_seconds: float = 30.0) -> None:
        """Have the terminal sized by another rule, ``latest``, ``smallest`` or ``largest``.

        See ``AsyncTerminal.set_sizing``.
        """
        self._loop.call(self._terminal.set_sizing, rule, timeout_seconds)

    def drop_connection(self) -> None:
        """Break the connection as a failing network would; the terminal resumes by itself."""
        self._loop.call(self._terminal.drop_connection)

    def close(self) -> None:
        """Detach; the shell goes on, unless the terminal is this program's own."""
        self._loop.call(self._terminal.close)


class LoopThread:
    """An event loop in a daemon thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="coditect client", daemon=True)
        self._thread.start()

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine function to its end; an interruption of the caller cancels it."""

        async def run() -> T:
            return await function(*args, **kwargs)

        if not self._thread.is_alive():
            raise RuntimeError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def end(self) -> None:
        """Cancel what runs, and end the thread. Idempotent; returns within some seconds."""
        with contextlib.suppress(RuntimeError):  # it is closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(_END_SECONDS)

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this thread."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait_for(_all(tasks), _END_SECONDS))
            loop.run_until_complete(loop.shutdown_asyncgens())
        except TimeoutError:
            pass  # a task that does not end must not hold up the interpreter
        finally:
            loop.close()


def _end(loop: LoopThread, client: AsyncClient) -> None:
    """Close a client and its thread; also as its finalizer, in whatever thread that runs."""
    if not loop.is_current:
        with contextlib.suppress(Exception):  # it is over either way
            loop.call(lambda: asyncio.wait_for(client.close(), _END_SECONDS))
    loop.end()


async def _all(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


async def _next(pieces: AsyncIterator[T]) -> T | None:
    return await anext(pieces, None)


def _pieces(
    data: bytes | BinaryIO | Iterator[bytes],
) -> bytes | BinaryIO | AsyncIterator[bytes]:
    """Return what ``AsyncClient`` takes; an open file, an iterator of lines as well, stays as it is."""

    async def pieces(source: Iterator[bytes]) -> AsyncIterator[bytes]:
        while (piece := await asyncio.to_thread(next, source, None)) is not None:
            yield piece

    plain = isinstance(data, bytes) or hasattr(data, "read")
    return data if plain else pieces(data)  # type: ignore[return-value, arg-type]
