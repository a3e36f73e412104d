"""The services of an actor shell.

``Services`` is handed to each actor as a picklable function that makes it
(``cluster.wiring.node.NodeWiring``), so that nothing here imports a layer above.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from actors.core.ports.clock import Clock
from actors.core.ports.codi import CodiClient
from actors.core.ports.environment import Environments
from actors.core.ports.events import EventPublisher
from actors.core.ports.journal import Journal
from actors.core.ports.ledger import Ledger
from actors.core.ports.runtime import ContainerRuntime
from actors.core.settings import ActorSettings


class Archive(Protocol):
    """The keeper of a node's workspaces, as a session uses it."""

    async def flush(self, session_id: str) -> None:
        """Return when all that is in the session's workspace is kept.

        Raises Unavailable, DeadlineExceeded, StoreFull.
        """
        ...

    async def whole(self, session_id: str) -> None:
        """Return when all that is kept of the session's workspace is in its container's directory.

        Waits for as long as that takes: the caller has a limit. Raises Unavailable.
        """
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything an actor shell works with."""

    settings: ActorSettings
    ledger: Ledger
    journal: Journal
    archive: Archive
    events: EventPublisher
    runtime: ContainerRuntime
    codi: CodiClient
    environments: Environments
    clock: Clock
    new_id: Callable[[str], str]
    new_secret: Callable[[], str]


ServicesFactory = Callable[[], Awaitable[Services]]
