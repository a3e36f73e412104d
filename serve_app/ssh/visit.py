"""One signed-in client in one session: attached while its connection lasts, and its channels.

The connection is with the session, each channel with the container that the session has when the channel
opens: a container that goes takes its channels with it, and the next channel is in its successor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh
import structlog

from actors.core.errors.access import Unauthenticated
from actors.core.errors.base import CoditectError, DeadlineExceeded
from actors.core.records.sessions import Route, SessionEvent
from serve_app.auth.tokens import Login
from serve_app.ingress import Ingress

if TYPE_CHECKING:
    from serve_app.ssh.connection import Connection

T = TypeVar("T")

logger = structlog.get_logger(__name__)

MAX_CHANNELS = 64
"""Channels of one connection at once; editors use about ten."""

WAKE_SECONDS = 90.0


class Visit:
    """A client in a session, whose id ``enter`` returns. ``close`` ends its connection with a reason."""

    def __init__(
        self,
        ingress: Ingress,
        login: Login,
        enter: Callable[[], Awaitable[str]],
        connection: Connection,
        close: Callable[[str], None],
    ) -> None:
        self.ingress = ingress
        self.session_id = ""
        self.connection = connection
        self.agent_path = ""
        self._login = login
        self._enter = enter
        self._close = close
        self._lease = ingress.deps.new_id("l")
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived: asyncio.Task[None] | None = None
        self._closing: set[Callable[[], None]] = set()
        self._channels = 0
        self._preparing = 0
        self._prepared = asyncio.Event()
        self._prepared.set()
        self._began = False

    def begin(self) -> None:
        """Attach to the session, which wakes it, and watch for what ends the visit."""
        self._began = True
        self._arrived = self.spawn("arrival", self._arrive())
        self.spawn("end of the login", self._until_signed_out())

    def end(self) -> None:
        """Let go of everything. Idempotent."""
        if not self._began:
            return
        self._began = False
        if self.session_id:
            self.ingress.hub.unlisten(self.session_id, self._on_event)
            self.ingress.attachments.detach(self.session_id, self._lease)
        for task in tuple(self._tasks):
            task.cancel()
        for close in tuple(self._closing):
            close()

    async def on_container(self, work: Callable[[Route], Awaitable[T]]) -> T:
        """Do something in the session's container once it has one; never twice.

        Raises DeadlineExceeded when it does not come up in time, and what ``work`` does.
        """
        try:
            async with asyncio.timeout(WAKE_SECONDS):
                if self._arrived is not None:
                    await asyncio.shield(self._arrived)
                return await self.ingress.gateway.once_on_container(self.session_id, work)
        except TimeoutError:
            raise DeadlineExceeded("the workspace's start", WAKE_SECONDS) from None

    def on_end(self, close: Callable[[], None]) -> Callable[[], None]:
        """Call ``close`` when the visit ends, at once if it has; return what takes that back."""
        if not self._began:
            close()
        self._closing.add(close)
        return lambda: self._closing.discard(close)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for as long as the visit lasts."""
        task = asyncio.create_task(work, name=f"ssh {name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def take_channel(self) -> None:
        """Count a channel. Raises ChannelOpenError beyond the limit."""
        if self._channels >= MAX_CHANNELS:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_RESOURCE_SHORTAGE,
                f"a connection has up to {MAX_CHANNELS} channels: use another one",
            )
        self._channels += 1

    def give_channel_back(self) -> None:
        """Count a channel no more."""
        self._channels -= 1

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Have programs wait meanwhile: what the client asked for before them is to be there first."""
        self._preparing += 1
        self._prepared.clear()
        try:
            yield
        finally:
            self._preparing -= 1
            if not self._preparing:
                self._prepared.set()

    async def prepared(self) -> None:
        """Return when all is there that was asked for."""
        await self._prepared.wait()

    def used(self) -> None:
        """Note that somebody works in the session."""
        self.ingress.gateway.note_use(self.session_id)

    async def _arrive(self) -> None:
        self.session_id = session_id = await self._enter()
        self.ingress.hub.listen(session_id, self._on_event)
        await self.ingress.attachments.attach(session_id, self._lease)

    async def _until_signed_out(self) -> None:
        try:
            await self.ingress.ended.require_live(self._login)
        except Unauthenticated:
            self._close("signed out: the login or the key was revoked, or the account was changed")

    def _on_event(self, event: SessionEvent) -> None:
        if event.type == "ended":
            self._close("the session has ended")

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, CoditectError):
            logger.error("a task of an SSH connection failed", task=task.get_name(), exc_info=error)
