"""Gives containers what their users' programs are to find, before one is started.

A session at rest is not woken because a variable was set: whoever starts something says which version of the
environment it needs, and a container that has an older one refuses, is given the newer one, and asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

import structlog

from actors.core.errors.base import CoditectError
from actors.core.ports.environment import Environments
from actors.core.records.environment import Environment
from actors.core.records.sessions import Route
from cluster.codi.answers import EnvironmentMissing

logger = structlog.get_logger(__name__)
T = TypeVar("T")

READ_SECONDS = 3.0


class Taker(Protocol):
    """Gives a container an environment: ``cluster.codi.control.CodiControl``."""

    async def put_environment(self, route: Route, environment: Environment) -> None:
        """Have programs that start from now on find this."""
        ...


class Personal:
    """Starts programs with what their users have set."""

    def __init__(self, environments: Environments, codi: Taker) -> None:
        self._environments = environments
        self._codi = codi

    async def start(self, route: Route, work: Callable[[Route], Awaitable[T]]) -> T:
        """Do what may start a program; it is begun a second time only if nothing was done the first time.

        While the store does not say what is set, programs find what the container has.
        """
        version = await self._version(route.session_id)
        if not version:
            return await work(route)
        needing = route.model_copy(update={"environment": version})
        try:
            return await work(needing)
        except EnvironmentMissing:
            if not await self._give(route):
                return await work(route)
        return await work(needing)

    async def _version(self, session_id: str) -> int:
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self._environments.version(session_id)
        except (CoditectError, TimeoutError) as error:
            logger.warning("no version of an environment", session_id=session_id, reason=str(error))
            return 0

    async def _give(self, route: Route) -> bool:
        """Give the container the newest version; false when the store does not say it."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                environment = await self._environments.current(route.session_id)
        except (CoditectError, TimeoutError) as error:
            logger.warning("no environment", session_id=route.session_id, reason=str(error))
            return False
        await self._codi.put_environment(route, environment)
        if environment.dotfiles is not None:
            with suppress(CoditectError):  # it is given again, and CODI knows that it was
                await self._environments.note_dotfiles(route.session_id)
        return True
