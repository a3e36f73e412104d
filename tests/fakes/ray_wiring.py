"""Services for actors on a real Ray whose containers serve nothing. Importable in worker processes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from actors.core.ports.services import Services
from actors.core.records.idleness import Activity
from cluster.wiring.node import NodeWiring


class SilentJournal:
    """A connection over which nothing is printed."""

    async def receive(self) -> NoReturn:
        return await asyncio.Future()

    async def close(self) -> None:
        return None


class SilentCodi:
    """A CodiClient that agrees with everything: stub containers have no CODI to ask."""

    async def raise_epoch(self, *arguments: Any, **named: Any) -> None:
        return None

    async def connect_journal(self, *arguments: Any) -> SilentJournal:
        return SilentJournal()

    async def activity(self, *arguments: Any, **named: Any) -> Activity:
        return Activity()

    async def seal(self, *arguments: Any, **named: Any) -> None:
        return None

    async def open_terminal(self, *arguments: Any, **named: Any) -> tuple[dict[str, Any], bool]:
        return {}, True


@dataclass(frozen=True, slots=True)
class StubWiring(NodeWiring):
    """The node's wiring with a CODI that needs no container."""

    async def __call__(self) -> Services:
        return replace(await NodeWiring.__call__(self), codi=SilentCodi())
