"""Carries out the work that a session's machine asks for, over ``Services``; each ends with an event.

Nothing of Ray here. Every step has a time limit. ``Fenced`` passes to the caller; every other
error of the server becomes the event that says so. A launch that does not come to its end, also one
that is cancelled, has its container removed in the background.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from actors.core.errors.base import CoditectError
from actors.core.errors.limits import ContainersExceeded
from actors.core.errors.sessions import Fenced
from actors.core.ports.services import Services
from actors.core.records.containers import (
    ContainerHandle,
    ContainerRecord,
    ContainerSpec,
    ContainerStatus,
    Health,
)
from actors.core.records.sessions import Route, SessionPhase, SessionRecord
from actors.core.records.terminals import TerminalRecord
from actors.core.tasks import Tasks
from actors.core.timing import within
from actors.session import messages
from actors.session.lease_keeper import LeaseKeeper
from actors.session.record_writer import WRITE_SECONDS, Change, RecordWriter

logger = logging.getLogger(__name__)
T = TypeVar("T")

CODI_SECONDS = 5.0
STOP_SLACK_SECONDS = 10.0
FLUSH_SECONDS = 3.0
WORKSPACE_SECONDS = 60.0
PREPARE_SECONDS = 900.0
RESTORE_SECONDS = 10.0
FENCE_PAUSE, FENCE_TRIES = 1.0, 300


class SessionExecutor:
    """The doing half of one activation.

    ``overlay`` brings a record up to the machine's state; ``on_terminals`` gets the names of
    those there are. ``background`` outlives the activation.
    """

    def __init__(
        self,
        services: Services,
        writer: RecordWriter,
        *,
        lease: LeaseKeeper,
        overlay: Change,
        on_terminals: Callable[[list[str]], None],
        background: Tasks,
    ) -> None:
        self._services = services
        self._writer = writer
        self._lease = lease
        self._overlay = overlay
        self._on_terminals = on_terminals
        self._background = background

    # ---- adopting -------------------------------------------------------------------------------

    async def adopt(self, command: messages.Adopt) -> messages.Event:
        """Make CODI obey this epoch only. That it answers is the proof that it is healthy."""
        try:
            handle = command.handle or await self._stored_handle(command.container_id)
        except (CoditectError, OSError) as error:
            return messages.AdoptFailed(command.work, f"no record read: {error}", dead=False)
        if handle is None:
            return messages.AdoptFailed(command.work, "its record is gone", dead=True)
        if handle.node_id != self._services.settings.node_id:
            # Nobody here sees when it ends. The epoch fences it, and its own node's pool stops it.
            self._background.offer(f"fence {handle.container_id}", self._fence(handle))
            return messages.AdoptFailed(command.work, "it is another node's", dead=True)
        record = self._writer.record
        try:
            await self._raise_epoch(handle, record)
        except Fenced:
            raise
        except (CoditectError, OSError) as error:
            return messages.AdoptFailed(command.work, str(error), dead=await self._is_dead(handle))
        # What was noted of it is over: its age counts on, and its next loss is another one.
        found = self._services.ledger.withdraw_loss
        self._background.offer(
            f"found {handle.container_id}",
            self._read("note of a loss", found, handle.container_id),
        )
        # The former owner may have ended between the container's start and its terminals'.
        await self._start_terminals(handle, record)
        return messages.ContainerReady(command.work, handle, record.epoch)

    async def _raise_epoch(self, handle: ContainerHandle, session: SessionRecord) -> None:
        """Take a container over and name its user to it; without address and environment it serves as well.

        What is missing of the environment, whoever starts a program gives it.
        """
        email, environment = await asyncio.gather(
            self._read("account", self._services.ledger.email_of, session.user_id),
            self._read("environment", self._services.environments.current, session.session_id),
        )
        raised = self._services.codi.raise_epoch(_route(handle, session), email, environment)
        await within(CODI_SECONDS, "answer of the container", raised)
        if environment is not None and environment.dotfiles is not None:
            note = self._services.environments.note_dotfiles
            await self._read("note of dotfiles", note, session.session_id)

    async def _read(
        self, what: str, ask: Callable[[str], Coroutine[Any, Any, T]], identity: str
    ) -> T | None:
        """Return what the store says, or None."""
        try:
            return await within(WRITE_SECONDS, what, ask(identity))
        except (CoditectError, OSError) as error:
            logger.warning("session %s: %s: %s", self._writer.record.session_id, what, error)
            return None

    async def _fence(self, handle: ContainerHandle) -> None:
        """Make a container that was left on another node refuse everybody, as soon as it can be reached."""
        for _ in range(FENCE_TRIES):
            record = self._writer.record
            raised = self._services.codi.raise_epoch(_route(handle, record))
            try:
                await within(CODI_SECONDS, "answer of the container", raised)
            except Fenced:
                return
            except (CoditectError, OSError) as error:
                logger.info("container %s is not fenced yet: %s", handle.container_id, error)
            else:
                return
            await self._services.clock.sleep(FENCE_PAUSE)

    async def _stored_handle(self, container_id: str) -> ContainerHandle | None:
        found = self._services.ledger.container(container_id)
        record = await within(WRITE_SECONDS, "read of the container", found)
        return record.handle if record is not None else None

    async def _is_dead(self, handle: ContainerHandle) -> bool:
        try:
            health = await within(
                self._services.settings.probe_timeout,
                "probe of the container",
                self._services.runtime.probe(handle),
            )
        except (CoditectError, OSError):
            return False
        return health is Health.DEAD

    # ---- launching ------------------------------------------------------------------------------

    async def launch(self, command: messages.Launch) -> messages.Event:
        """Start a container on the session's workspace, with the known terminals in it.

        The record names the container before anybody is sent there: an actor that takes over in that
        moment finds it.
        """
        services = self._services
        container: ContainerRecord | None = None
        handle: ContainerHandle | None = None
        complete = False
        try:
            session = await self._writer.raise_epoch(self._overlay)
            container = self._container_record(session)
            quotas = services.settings.quotas
            put = services.ledger.put_container(container, quotas=quotas)
            await within(WRITE_SECONDS, "record of the container", put)
            await self._lease.hold()
            await self._forget_older_workspace(session)
            prepared = services.runtime.prepare(session.workspace_id)
            await within(PREPARE_SECONDS, "repair of the workspace's disk", prepared)
            async with services.runtime.turn(services.settings.launch_wait):
                await self._lease.hold()
                launch = services.runtime.launch(self._spec(container, session.epoch))
                handle = await within(
                    services.settings.launch_timeout, "start of the container", launch
                )
            await self._raise_epoch(handle, session)
            await self._record_ready(container, handle)
            complete = True
            if self._is_elsewhere(session):
                await self._make_whole(session)
            await self._start_terminals(handle, session)
        except Fenced:
            raise
        except ContainersExceeded as refused:
            return messages.LaunchFailed(command.work, str(refused), refused)
        except (CoditectError, OSError) as error:
            return messages.LaunchFailed(command.work, str(error))
        finally:
            if not complete and container is not None:
                self._clean_up(container.container_id, handle)
        return messages.ContainerReady(command.work, handle, session.epoch)

    async def _forget_older_workspace(self, session: SessionRecord) -> None:
        """Remove what this node has of the workspace, if the session was elsewhere meanwhile."""
        if not self._is_elsewhere(session):
            return
        removal = self._services.runtime.delete_workspace(session.workspace_id)
        await within(WORKSPACE_SECONDS, "removal of an older workspace", removal)

    async def _make_whole(self, session: SessionRecord) -> None:
        """Let what is kept of the workspace be there before anybody works in it, if that is soon.

        Of what somebody typed while the session moved, a command that adds to a file would otherwise
        begin it anew. A large workspace is put back under its shells.
        """
        try:
            whole = self._services.archive.whole(session.session_id)
            await within(RESTORE_SECONDS, "restored workspace", whole)
        except (CoditectError, OSError) as error:
            logger.warning("session %s goes on amid its restore: %s", session.session_id, error)

    def _is_elsewhere(self, session: SessionRecord) -> bool:
        """Return whether what the session's last container left is not where the next one begins."""
        if session.workspace_node_id is None:
            return False
        here = session.workspace_node_id == self._services.settings.node_id
        return not (here and self._services.runtime.keeps_workspaces)

    def _container_record(self, session: SessionRecord) -> ContainerRecord:
        settings = self._services.settings
        now = self._services.clock.now()
        return ContainerRecord(
            container_id=self._services.new_id("c"),
            tenant_id=session.tenant_id,
            node_id=settings.node_id,
            workspace_id=session.workspace_id,
            runtime=settings.runtime,
            status=ContainerStatus.STARTING,
            session_id=session.session_id,
            user_id=session.user_id,
            created_at=now,
            assigned_at=now,
        )

    def _spec(self, container: ContainerRecord, epoch: int) -> ContainerSpec:
        settings = self._services.settings
        return ContainerSpec(
            container_id=container.container_id,
            tenant_id=container.tenant_id,
            workspace_id=container.workspace_id,
            secret=self._services.new_secret(),
            user_id=container.user_id,
            epoch=epoch,
            image=settings.container_image,
            cpu=settings.container_cpu,
            memory_bytes=settings.container_memory_bytes,
            pids=settings.container_pids,
            egress=settings.egress,
        )

    async def _start_terminals(self, handle: ContainerHandle, session: SessionRecord) -> None:
        """Start the known terminals where they were. One that fails starts when somebody opens it."""
        route = _route(handle, session)

        async def start(terminal: TerminalRecord) -> None:
            try:
                await self._services.codi.open_terminal(route, terminal.name, cwd=terminal.cwd)
            except Fenced:
                raise
            except (CoditectError, OSError) as error:
                logger.warning("terminal %s of %s: %s", terminal.name, session.session_id, error)

        async def start_all() -> None:
            known = await self._services.journal.terminals(session.session_id)
            if known:
                self._on_terminals([terminal.name for terminal in known])
            await asyncio.gather(*(start(each) for each in known if each.exit_code is None))

        try:
            await within(CODI_SECONDS, "start of the terminals", start_all())
        except Fenced:
            raise
        except (CoditectError, OSError) as error:
            logger.warning("terminals of %s: %s", session.session_id, error)

    async def _record_ready(self, container: ContainerRecord, handle: ContainerHandle) -> None:
        ready = container.model_copy(
            update={
                "status": ContainerStatus.READY,
                "health": Health.HEALTHY,
                "handle": handle,
                "ready_at": self._services.clock.now(),
            }
        )
        put = self._services.ledger.put_container(ready)
        await within(WRITE_SECONDS, "record of the container", put)
        fields = {
            "phase": SessionPhase.READY,
            "container_id": handle.container_id,
            "container_url": handle.address,
            "container_status": ContainerStatus.READY,
            "failure": None,
            "workspace_node_id": handle.node_id,
        }
        await self._writer.update(lambda record: self._overlay(record).model_copy(update=fields))

    # ---- stopping -------------------------------------------------------------------------------

    async def stop(self, command: messages.Stop) -> messages.Event:
        """Stop the session's container and forget its record; what is in its workspace is kept first.

        When that cannot be, the directory still has it, and the next container's follower looks; a
        container with which its directory goes is not stopped then.
        """
        if not command.forced:
            try:
                flush = self._services.archive.flush(self._writer.record.session_id)
                await within(FLUSH_SECONDS, "last look at the workspace", flush)
            except (CoditectError, OSError) as error:
                logger.warning("session %s: %s", self._writer.record.session_id, error)
                if not await self._may_go_unsaved(command.handle):
                    return messages.WorkFailed(command.work, str(error))
            try:
                await self._remove_container(
                    command.container_id, command.handle, self._services.settings.stop_grace
                )
            except (CoditectError, OSError) as error:
                return messages.WorkFailed(command.work, str(error))
        return messages.Stopped(command.work)

    async def _may_go_unsaved(self, handle: ContainerHandle | None) -> bool:
        """Return whether stopping a container whose workspace is not kept yet loses nothing more."""
        if self._services.runtime.keeps_workspaces or handle is None:
            return True
        return await self._is_dead(handle)

    async def end(self, command: messages.EndSession) -> messages.Event:
        """End the session: first the intent, then container and workspace, then the record.

        The intent is committed before anything is destroyed, so that whoever takes over in between
        goes on with it. What a forced end leaves is noted, for the pool's sweep to remove.
        """
        try:
            await self._writer.update(self._overlay)
            if not command.forced:
                if command.container_id is not None:
                    await self._remove_container(command.container_id, command.handle, 0.0)
                await self._lease.hold()
                workspace = self._writer.record.workspace_id
                removal = self._services.runtime.delete_workspace(workspace)
                await within(WORKSPACE_SECONDS, "removal of the workspace", removal)
            here, was_on = self._services.settings.node_id, self._writer.record.workspace_node_id
            left_on = here if command.forced else None
            if was_on not in {None, here}:
                left_on = was_on
            await self._writer.end(left_on=left_on)
        except Fenced:
            raise
        except (CoditectError, OSError) as error:
            return messages.WorkFailed(command.work, str(error))
        return messages.Ended(command.work)

    async def passivate(self, command: messages.Passivate) -> messages.Event:
        """Write the record without an owner."""

        def last(record: SessionRecord) -> SessionRecord:
            self._lease.give_up()  # or it would hold on if the outcome were not known
            return self._overlay(record)

        try:
            await self._writer.passivate(last)
        except Fenced:
            raise
        except (CoditectError, OSError) as error:
            return messages.WorkFailed(command.work, str(error))
        return messages.Passivated(command.work)

    async def discard(self, command: messages.Discard) -> None:
        """Remove a container that is not wanted. What fails here is left to the pool's sweep."""
        try:
            await self._remove_container(command.container_id, command.handle, 0.0)
        except (CoditectError, OSError) as error:
            logger.warning(
                "container %s (%s) is left to the sweep: %s",
                command.container_id, command.reason.value, error,
            )  # fmt: skip

    async def _remove_container(
        self, container_id: str, handle: ContainerHandle | None, grace: float
    ) -> None:
        handle = handle or await self._stored_handle(container_id)
        if handle is not None and handle.node_id == self._services.settings.node_id:
            await self._lease.hold()
            stop = self._services.runtime.stop(handle, grace)
            await within(grace + STOP_SLACK_SECONDS, "stop of the container", stop)
        removal = self._services.ledger.remove_container(container_id)
        await within(WRITE_SECONDS, "removal of the container's record", removal)

    def _clean_up(self, container_id: str, handle: ContainerHandle | None) -> None:
        discard = messages.Discard(container_id, handle, messages.DiscardReason.LATE)
        # Refused only when the process is ending: the sweep removes what is left.
        self._background.offer(f"clean up {container_id}", self.discard(discard))


def _route(handle: ContainerHandle, session: SessionRecord) -> Route:
    return Route.to(handle, session.session_id, session.epoch)
