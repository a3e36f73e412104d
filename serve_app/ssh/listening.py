"""Listens inside for an SSH client (``ssh -R``, ``-A``): what connects there becomes a channel to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncssh
import structlog

from actors.core.errors.base import CoditectError
from serve_app.ssh.forwarding import Forward
from serve_app.ssh.inside import Inside
from serve_app.ssh.visit import Visit

logger = structlog.get_logger(__name__)

LISTEN_SECONDS = 10.0

Reach = Callable[[Forward, dict[str, Any]], Awaitable[Any]]
"""Opens a channel to the client for what came in."""


class RemoteListener(asyncssh.SSHListener):
    """A port or a socket inside at which programs reach the client."""

    def __init__(self, visit: Visit, inside: Inside, reach: Reach) -> None:
        super().__init__()
        self._visit = visit
        self._inside = inside
        self._reach = reach
        self._door = 0
        self._port = 0
        self.path = ""
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, visit: Visit, where: str, reach: Reach) -> RemoteListener:
        """Listen inside: at a port of localhost, 0 for any, at ``unix:PATH``, or for an ``agent``.

        Raises OSError when that cannot be.
        """
        try:
            made = cls(visit, await Inside.start(visit, ["codi:listen", where]), reach)
        except CoditectError as error:
            raise OSError(str(error)) from error
        try:
            async with asyncio.timeout(LISTEN_SECONDS):
                first = await made._inside.line()
            made._port, made.path = first.get("port", 0), first.get("path", "")
            made._door = first["door"]
        except (CoditectError, TimeoutError, KeyError) as error:
            await made._inside.close()
            raise OSError(str(error)) from error
        made._task = visit.spawn("listener", made._run())
        return made

    @property
    def is_over(self) -> bool:
        """True if it listens no more, as after its container's end."""
        return self._task is None or self._task.done()

    def get_port(self) -> int:
        """Return the port that it listens at; 0 for a path."""
        return self._port

    def close(self) -> None:
        """Listen no more; connections that are there go on."""
        if self._task is not None:
            self._task.cancel()

    async def wait_closed(self) -> None:
        """Return when it listens no more."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while True:
                came = await self._inside.line()
                self._visit.spawn("connection from inside", self._hand_out(came))
        except CoditectError as error:
            logger.info("an SSH client's listener inside is gone", reason=str(error))
        finally:
            await self._inside.close()

    async def _hand_out(self, came: dict[str, Any]) -> None:
        """Open a channel to the client for a connection, and fetch the connection for it."""
        try:
            self._visit.take_channel()
        except asyncssh.ChannelOpenError:
            return  # nobody fetches it, so it is closed
        try:
            reader, writer = await self._inside.fetch(self._door, came["connection"])
            made = Forward(self._visit, reader, writer)
        except (CoditectError, OSError, KeyError):
            self._visit.give_channel_back()
            return
        try:
            with suppress(KeyError):
                await self._reach(made, came)
                return
        except (asyncssh.Error, OSError):
            pass
        made.connection_lost(None)
