"""The JournalActor: one per node, made by the Supervisor. A shell round ``recorder``.

It keeps nothing that is not in the store: after its own end it connects to the containers again, and
each sends what it has not had kept.
"""

from __future__ import annotations

from actors.core.calls import Component
from actors.core.ports.services import ServicesFactory
from actors.core.process import Shell
from actors.journal.recorder import JournalRecorder


class JournalActor(Shell[JournalRecorder]):
    """Journals the terminals of the node's containers."""

    def __init__(self, services_factory: ServicesFactory) -> None:
        self._services_factory = services_factory
        super().__init__()

    async def _make(self) -> JournalRecorder:
        return JournalRecorder(await self._services_factory())


def _as_called(actor: JournalActor) -> Component:
    return actor  # for the type checker
