"""The JournalActor: one per node, made by the Supervisor. A shell round ``recorder``.

It keeps nothing that is not in the store: after its own end it connects to the containers again, and
each sends what it has not had kept.
"""

from __future__ import annotations

from actors.core.calls import JournalCalls, Ref
from actors.core.directory import ActorDirectory
from actors.core.errors.base import CoditectError
from actors.core.ports.services import ServicesFactory
from actors.core.process import Shell
from actors.core.records.containers import ContainerHandle
from actors.journal.recorder import JournalRecorder

WATCH_SECONDS = 2.0


class JournalActor(Shell[JournalRecorder]):
    """Journals the terminals of the node's containers."""

    def __init__(self, services_factory: ServicesFactory) -> None:
        self._services_factory = services_factory
        super().__init__()

    async def watch(self, handle: ContainerHandle) -> None:
        """Connect to a container that was just started; it would be found a little later anyway."""
        (await self._ready()).watch(handle)

    async def _make(self) -> JournalRecorder:
        return JournalRecorder(await self._services_factory())


class RayJournalWatch:
    """Implements ``actors.core.ports.journal.JournalWatch`` with a call to the node's JournalActor."""

    def __init__(self, directory: ActorDirectory, name: Ref[JournalCalls]) -> None:
        self._directory = directory
        self._name = name

    async def watch(self, handle: ContainerHandle) -> None:
        """Have the journal connect to a container now. What fails here is left to its sweep."""
        try:
            await self._directory.call(self._name, JournalCalls.watch, WATCH_SECONDS, handle)
        except CoditectError:
            return


def _as_called(actor: JournalActor) -> JournalCalls:
    return actor  # for the type checker
