"""The EgressActor: one per node, made by the Supervisor. A shell round ``egress.gateway``.

It keeps nothing that the store does not have but some seconds of counts: after its own end containers hand
their sockets to the next one, in which whoever connects meanwhile waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from actors.core.calls import Component
from actors.core.process import Shell
from cluster.egress.gateway import Gateway


class EgressActor(Shell[Gateway]):
    """Lets the containers of a node out. ``make`` is called in the actor's own process."""

    def __init__(self, make: Callable[[], Awaitable[Gateway]]) -> None:
        self._make_gateway = make
        super().__init__()

    async def _make(self) -> Gateway:
        return await self._make_gateway()


def _as_called(actor: EgressActor) -> Component:
    return actor  # for the type checker
