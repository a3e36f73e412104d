"""The same client for code without an event loop: calls run on a loop in a thread of its own.

Each call is made from its asynchronous twin, and has its arguments, types and docstring: type checkers
and language servers follow them through a ``ParamSpec``, ``help`` reads ``__signature__``. So nothing is
generated, and a call that is missing here fails a test. The thread ends with the client, with its garbage
collection, or with the interpreter: a script need not close what it made.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from coditect.client import AsyncClient
from coditect.connection import DEFAULT_RETRY_SECONDS, DEFAULT_TIMEOUT_SECONDS
from coditect.errors import ClientError
from coditect.forward import AsyncPortForward
from coditect.models import TerminalWindow
from coditect.program import AsyncProgram, ProgramEnd, ProgramOutput
from coditect.terminal import AsyncTerminal

P = ParamSpec("P")
T = TypeVar("T")
Twin_co = TypeVar("Twin_co", covariant=True)

_END_SECONDS = 5.0


class Blocking(Generic[Twin_co]):
    """A blocking object with a twin on the loop of a thread."""

    def __init__(self, loop: LoopThread, twin: Twin_co) -> None:
        self._loop = loop
        self._twin = twin

    def __enter__(self) -> Self:
        return self

    def _each(self, pieces: AsyncIterator[T]) -> Iterator[T]:
        try:
            while (piece := self._loop.call(_next, pieces)) is not None:
                yield piece
        finally:
            if (close := getattr(pieces, "aclose", None)) is not None:
                self._loop.call(close)


@overload
def _blocking(
    call: Callable[Concatenate[Twin_co, P], Coroutine[Any, Any, AsyncTerminal]],
) -> Callable[Concatenate[Blocking[Twin_co], P], Terminal]: ...


@overload
def _blocking(
    call: Callable[Concatenate[Twin_co, P], Coroutine[Any, Any, AsyncPortForward]],
) -> Callable[Concatenate[Blocking[Twin_co], P], PortForward]: ...


@overload
def _blocking(
    call: Callable[Concatenate[Twin_co, P], Coroutine[Any, Any, AsyncProgram]],
) -> Callable[Concatenate[Blocking[Twin_co], P], Program]: ...


@overload
def _blocking(
    call: Callable[Concatenate[Twin_co, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking[Twin_co], P], T]: ...


@overload
def _blocking(
    call: Callable[Concatenate[Twin_co, P], AsyncIterator[T]],
) -> Callable[Concatenate[Blocking[Twin_co], P], Iterator[T]]: ...


def _blocking(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method that runs a coroutine method, or iterates an asynchronous iterator, of the twin."""

    @functools.wraps(call)
    def method(self: Blocking[Any], *args: Any, **kwargs: Any) -> Any:
        if inspect.isasyncgenfunction(call):
            return self._each(call(self._twin, *args, **kwargs))
        answer = self._loop.call(call, self._twin, *args, **kwargs)
        if isinstance(answer, AsyncPortForward):
            return PortForward(self._loop, answer, self)
        if isinstance(answer, AsyncProgram):
            return Program(self._loop, answer, self)
        return Terminal(self._loop, answer, self) if isinstance(answer, AsyncTerminal) else answer

    signature = inspect.signature(call)
    returned = str(signature.return_annotation).replace("Async", "")
    method.__qualname__ = call.__qualname__.replace("Async", "")
    method.__signature__ = signature.replace(return_annotation=returned)  # type: ignore[attr-defined]
    return method


class Terminal(Blocking[AsyncTerminal]):
    """``AsyncTerminal`` without an event loop: the same calls, the same errors."""

    def __init__(self, loop: LoopThread, twin: AsyncTerminal, owner: object) -> None:
        super().__init__(loop, twin)
        self._owner = owner  # whose garbage collection would close this

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def offset(self) -> int:
        """The number of the next output byte."""
        return self._twin.offset

    @property
    def client_id(self) -> str:
        """The id under which the server counts this client's input."""
        return self._twin.client_id

    @property
    def is_own(self) -> bool:
        """True if the terminal is this program's alone."""
        return self._twin.is_own

    @property
    def status(self) -> str:
        """The state of the connection and the session."""
        return self._twin.status

    @property
    def sizing(self) -> str | None:
        """By which rule the terminal is sized; None before the server has said."""
        return self._twin.sizing

    @property
    def windows(self) -> tuple[TerminalWindow, ...]:
        """The windows that show the terminal now."""
        return self._twin.windows

    @property
    def events(self) -> list[dict[str, Any]]:
        """The last control frames and gaps, newest last."""
        return list(self._twin.events)

    read = _blocking(AsyncTerminal.read)
    read_until = _blocking(AsyncTerminal.read_until)
    send = _blocking(AsyncTerminal.send)
    run = _blocking(AsyncTerminal.run)
    resize = _blocking(AsyncTerminal.resize)
    set_sizing = _blocking(AsyncTerminal.set_sizing)
    close = _blocking(AsyncTerminal.close)


class Program(Blocking[AsyncProgram]):
    """``AsyncProgram`` without an event loop: the same calls, the same errors."""

    def __init__(self, loop: LoopThread, twin: AsyncProgram, owner: object) -> None:
        super().__init__(loop, twin)
        self._owner = owner  # whose garbage collection would close this

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[ProgramOutput]:
        while (output := self.read()) is not None:
            yield output

    @property
    def pid(self) -> int:
        """The program's number in its container."""
        return self._twin.pid

    @property
    def end(self) -> ProgramEnd | None:
        """How it ended, once ``read`` has returned None."""
        return self._twin.end

    read = _blocking(AsyncProgram.read)
    write = _blocking(AsyncProgram.write)
    end_input = _blocking(AsyncProgram.end_input)
    resize = _blocking(AsyncProgram.resize)
    signal = _blocking(AsyncProgram.signal)
    wait = _blocking(AsyncProgram.wait)
    close = _blocking(AsyncProgram.close)


class PortForward(Blocking[AsyncPortForward]):
    """``AsyncPortForward`` without an event loop."""

    def __init__(self, loop: LoopThread, twin: AsyncPortForward, owner: object) -> None:
        super().__init__(loop, twin)
        self._owner = owner  # whose garbage collection would close this

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port of this machine."""
        return self._twin.port

    @property
    def error(self) -> ClientError | None:
        """Why the last connection could not be made."""
        return self._twin.error

    close = _blocking(AsyncPortForward.close)


class Client(Blocking[AsyncClient]):
    """``AsyncClient`` without an event loop: the same calls, the same errors."""

    def __init__(
        self,
        url: str,
        *,
        access_token: str | None = None,
        refresh_token: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retry_seconds: float = DEFAULT_RETRY_SECONDS,
    ) -> None:
        loop = LoopThread()

        async def make() -> AsyncClient:
            return AsyncClient(
                url,
                access_token=access_token,
                refresh_token=refresh_token,
                timeout_seconds=timeout_seconds,
                retry_seconds=retry_seconds,
            )

        try:
            super().__init__(loop, loop.call(make))
        except BaseException:
            loop.end()
            raise
        self._end = weakref.finalize(self, _end, loop, self._twin)

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close terminals, connections and the thread; sessions go on. Idempotent."""
        self._end()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._twin.url

    @property
    def access_token(self) -> str | None:
        """The current access token."""
        return self._twin.access_token

    @property
    def refresh_token(self) -> str | None:
        """The current refresh token; it changes with every refresh."""
        return self._twin.refresh_token

    login = _blocking(AsyncClient.login)
    refresh = _blocking(AsyncClient.refresh)
    logout = _blocking(AsyncClient.logout)
    me = _blocking(AsyncClient.me)
    change_password = _blocking(AsyncClient.change_password)
    providers = _blocking(AsyncClient.providers)
    ticket = _blocking(AsyncClient.ticket)
    variables = _blocking(AsyncClient.variables)
    variable = _blocking(AsyncClient.variable)
    set_variable = _blocking(AsyncClient.set_variable)
    delete_variable = _blocking(AsyncClient.delete_variable)
    secrets = _blocking(AsyncClient.secrets)
    secret = _blocking(AsyncClient.secret)
    set_secret = _blocking(AsyncClient.set_secret)
    delete_secret = _blocking(AsyncClient.delete_secret)
    preferences = _blocking(AsyncClient.preferences)
    change_preferences = _blocking(AsyncClient.change_preferences)
    ssh_server = _blocking(AsyncClient.ssh_server)
    ssh_keys = _blocking(AsyncClient.ssh_keys)
    add_ssh_key = _blocking(AsyncClient.add_ssh_key)
    remove_ssh_key = _blocking(AsyncClient.remove_ssh_key)
    ssh_stream = _blocking(AsyncClient.ssh_stream)
    create_user = _blocking(AsyncClient.create_user)
    users = _blocking(AsyncClient.users)
    change_user = _blocking(AsyncClient.change_user)
    disable_user = _blocking(AsyncClient.disable_user)
    set_quotas = _blocking(AsyncClient.set_quotas)
    is_alive = _blocking(AsyncClient.is_alive)
    is_ready = _blocking(AsyncClient.is_ready)
    health = _blocking(AsyncClient.health)
    metrics = _blocking(AsyncClient.metrics)
    all_sessions = _blocking(AsyncClient.all_sessions)
    all_containers = _blocking(AsyncClient.all_containers)
    nodes = _blocking(AsyncClient.nodes)
    drain_node = _blocking(AsyncClient.drain_node)
    overview = _blocking(AsyncClient.overview)
    backups = _blocking(AsyncClient.backups)
    start_backup = _blocking(AsyncClient.start_backup)
    audit = _blocking(AsyncClient.audit)
    sessions = _blocking(AsyncClient.sessions)
    open_session = _blocking(AsyncClient.open_session)
    session = _blocking(AsyncClient.session)
    end_session = _blocking(AsyncClient.end_session)
    hibernate = _blocking(AsyncClient.hibernate)
    resume = _blocking(AsyncClient.resume)
    keep_awake = _blocking(AsyncClient.keep_awake)
    network = _blocking(AsyncClient.network)
    set_network = _blocking(AsyncClient.set_network)
    patch_workspace_state = _blocking(AsyncClient.patch_workspace_state)
    containers = _blocking(AsyncClient.containers)
    launch_container = _blocking(AsyncClient.launch_container)
    events = _blocking(AsyncClient.events)
    exec = _blocking(AsyncClient.exec)
    program = _blocking(AsyncClient.program)
    processes = _blocking(AsyncClient.processes)
    start_process = _blocking(AsyncClient.start_process)
    named_processes = _blocking(AsyncClient.named_processes)
    process = _blocking(AsyncClient.process)
    wait_for_process = _blocking(AsyncClient.wait_for_process)
    signal_process = _blocking(AsyncClient.signal_process)
    end_process = _blocking(AsyncClient.end_process)
    process_output = _blocking(AsyncClient.process_output)
    ports = _blocking(AsyncClient.ports)
    port = _blocking(AsyncClient.port)
    share_port = _blocking(AsyncClient.share_port)
    stop_port = _blocking(AsyncClient.stop_port)
    port_link = _blocking(AsyncClient.port_link)
    end_port_links = _blocking(AsyncClient.end_port_links)
    forward_port = _blocking(AsyncClient.forward_port)
    tree = _blocking(AsyncClient.tree)
    read_file = _blocking(AsyncClient.read_file)
    history = _blocking(AsyncClient.history)
    restore_file = _blocking(AsyncClient.restore_file)
    stream_file = _blocking(AsyncClient.stream_file)
    stream_directory = _blocking(AsyncClient.stream_directory)
    search = _blocking(AsyncClient.search)
    watch = _blocking(AsyncClient.watch)
    unpack = _blocking(AsyncClient.unpack)
    upload_directory = _blocking(AsyncClient.upload_directory)
    download_directory = _blocking(AsyncClient.download_directory)
    write_file = _blocking(AsyncClient.write_file)
    delete_file = _blocking(AsyncClient.delete_file)
    move = _blocking(AsyncClient.move)
    make_directory = _blocking(AsyncClient.make_directory)
    terminals = _blocking(AsyncClient.terminals)
    start_terminal = _blocking(AsyncClient.start_terminal)
    output = _blocking(AsyncClient.output)
    end_terminal = _blocking(AsyncClient.end_terminal)
    terminal = _blocking(AsyncClient.terminal)


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
        """True if the caller runs in this thread."""
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
