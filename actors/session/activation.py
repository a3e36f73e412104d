"""One activation of a session: its machine, and the work that this asks for.

From the moment an actor becomes the owner until it lets go. Every event goes through ``step``, which
carries the commands out in order without awaiting anything; all waiting happens in tasks of this
activation, which end with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, assert_never

from actors.core.backoff import Backoff
from actors.core.errors.base import CoditectError, DeadlineExceeded, IllegalTransition
from actors.core.errors.sessions import Fenced, NotBound
from actors.core.lease import LeaseRules
from actors.core.ports.services import Services
from actors.core.records.containers import ContainerHandle, ContainerRecord
from actors.core.records.sessions import Route, SessionRecord
from actors.core.tasks import Tasks
from actors.core.timing import wait_for_event
from actors.session import messages
from actors.session.executor import SessionExecutor
from actors.session.lease_keeper import LeaseKeeper
from actors.session.machine import SessionMachine
from actors.session.record_writer import RecordWriter
from actors.session.state import SessionRules
from actors.session.stats import SessionStats

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.2
RETRY_LIMIT_SECONDS = 5.0
ABANDON_SECONDS = 5.0

Event = messages.Event


class Activation:
    """Holds one session. ``on_released`` is called once, ``on_broken`` when its machine is."""

    def __init__(
        self,
        services: Services,
        record: SessionRecord,
        *,
        rules: SessionRules,
        jitter: Callable[[], float],
        background: Tasks,
        stats: SessionStats,
        on_released: Callable[[Activation, messages.ReleaseReason], None],
        on_broken: Callable[[IllegalTransition], None],
    ) -> None:
        self.session_id = record.session_id
        self.machine = SessionMachine(rules, jitter)
        self.writer = RecordWriter(services.ledger, record)
        self.services = services
        self.rules = rules
        self._background = background
        self._stats = stats
        self._on_released = on_released
        self._on_broken = on_broken
        self._tasks = Tasks()
        rules_of_lease = LeaseRules(services.settings.owner_lease)
        self.lease = LeaseKeeper(self.writer, services.clock, rules_of_lease)
        self._work = SessionExecutor(
            services,
            self.writer,
            lease=self.lease,
            overlay=self._overlay,
            on_terminals=lambda names: self.emit("terminals", {"names": names}),
            background=background,
        )
        self._working: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._dirty = asyncio.Event()
        self._changed = asyncio.Event()

    def start(self, container: ContainerRecord | None, rest_after: float | None) -> None:
        """Begin; ``container`` is the session's when the caller has it at hand.

        ``rest_after`` as in ``messages.Bound``.
        """
        record = self.writer.record
        if container is not None and container.container_id != record.container_id:
            container = None
        self._tasks.spawn("keep lease", self._keep_lease())
        self._tasks.spawn("save session", self._save_forever())
        self._tasks.spawn("session time", self._tick_forever())
        self._stats.activations += 1
        self.step(
            messages.Bound(
                phase=record.phase,
                epoch=record.epoch,
                container_id=record.container_id,
                handle=container.handle if container else None,
                ready_for=self._age(container),
                failure=record.failure,
                restarts=record.restarts,
                short_lives=record.short_lives,
                rest_after=rest_after,
            )
        )

    def _age(self, container: ContainerRecord | None) -> float | None:
        if container is None or container.ready_at is None:
            return None
        until = container.lost_at or self.services.clock.now()
        return max(0.0, until - container.ready_at)

    async def close(self) -> None:
        """End every task; the session itself is not touched."""
        self.writer.close()
        await self._tasks.close()

    # ---- what the calls ask ---------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return what the actor's ``ping`` says of the session."""
        return {
            "session_id": self.session_id,
            "phase": self.machine.phase.value,
            "epoch": self.machine.epoch,
        }

    @property
    def view(self) -> SessionRecord:
        """The record as it is now: what was committed last, with the machine's state over it."""
        return self._overlay(self.writer.record)

    @property
    def clean(self) -> bool:
        """True when everything that the machine decided is committed."""
        committed = self.writer.record.model_dump(include=set(self.machine.persistent()))
        return not self._dirty.is_set() and committed == self.machine.persistent()

    @property
    def route(self) -> Route:
        """The way to the container, under the epoch of now; there is one."""
        assert self.machine.handle is not None
        return Route.to(self.machine.handle, self.session_id, self.machine.epoch)

    @contextmanager
    def letting_go_if_fenced(self) -> Iterator[None]:
        """Let go of the session, and raise NotBound, when what is done within is Fenced."""
        try:
            yield
        except Fenced as fenced:
            self.step(messages.FencedOff(fenced.current))
            raise self._not_bound() from None

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        """Publish an event to the session's followers."""
        self.services.events.publish(self.session_id, kind, data)

    def require(self) -> None:
        """Raise NotBound if the session was let go of."""
        if self.machine.released is not None:
            raise self._not_bound()

    async def until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for something to become true. Raises DeadlineExceeded, NotBound when released."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self.require()
                    await self._changed.wait()
        except TimeoutError:
            raise DeadlineExceeded(what, seconds) from None

    def _not_bound(self) -> NotBound:
        return NotBound(self.writer.record.owner_actor_id or "", self.session_id)

    # ---- events and commands --------------------------------------------------------------------

    def step(self, event: Event) -> None:
        """Give the machine an event and carry out what it answers."""
        before = self.machine.phase
        now = self.services.clock.monotonic()
        try:
            commands = self.machine.step(event, now)
        except IllegalTransition as error:
            self._on_broken(error)
            return
        self._stats.note(event, before, self.machine.phase, now)
        for command in commands:
            self._carry_out(command)
        self._wake()

    def _carry_out(self, command: messages.Command) -> None:  # noqa: C901, PLR0912 - one table
        work = self._work
        match command:
            case messages.Adopt():
                self._begin(command.work, "adopt", lambda: work.adopt(command))
            case messages.Launch():
                self._begin(command.work, "launch", lambda: work.launch(command))
            case messages.Stop():
                self._begin(command.work, "stop", lambda: work.stop(command))
            case messages.EndSession():
                self._begin(command.work, "end", lambda: work.end(command))
            case messages.Passivate():
                self._begin(command.work, "passivate", lambda: work.passivate(command))
            case messages.Abandon():
                if self._working is not None:
                    self._working.cancel()
            case messages.Watch(handle):
                self._stop_watching()
                self._watching = self._tasks.spawn("watch container", self._watch(handle))
            case messages.Discard():
                self._background.offer(f"discard {command.container_id}", work.discard(command))
            case messages.Save():
                self._dirty.set()
            case messages.Emit(kind, data):
                self.emit(kind, data)
            case messages.Release(reason):
                self._on_released(self, reason)
            case _:
                assert_never(command)

    def _begin(self, number: int, name: str, work: Callable[[], Awaitable[Event]]) -> None:
        logger.info("session %s: %s (work %d)", self.session_id, name, number)
        self._working = self._tasks.spawn(f"{name} {number}", self._do(self._working, work))

    async def _do(
        self, previous: asyncio.Task[None] | None, work: Callable[[], Awaitable[Event]]
    ) -> None:
        """Run one piece of work once the one before it has let go, and feed its answer back."""
        try:
            if previous is not None and previous is not asyncio.current_task():
                await asyncio.wait({previous}, timeout=ABANDON_SECONDS)
            event = await work()
        except Fenced as fenced:
            event = messages.FencedOff(fenced.current)
        self.step(event)

    def _overlay(self, record: SessionRecord) -> SessionRecord:
        """Return the record with everything of it that is decided here."""
        return record.model_copy(update=self.machine.persistent())

    # ---- the tasks ------------------------------------------------------------------------------

    async def _watch(self, handle: ContainerHandle) -> None:
        """Report the container's end to the machine; asks again when the runtime cannot say."""
        backoff = Backoff(RETRY_SECONDS, RETRY_LIMIT_SECONDS)
        while True:
            try:
                reason = await self.services.runtime.wait_exit(handle)
            except (CoditectError, OSError) as error:
                logger.warning("container %s is not watched: %s", handle.container_id, error)
                await self.services.clock.sleep(backoff.next())
            else:
                self.step(messages.ContainerLost(handle.container_id, reason))
                return

    def _stop_watching(self) -> None:
        if self._watching is not None and self._watching is not asyncio.current_task():
            self._watching.cancel()
        self._watching = None

    async def _keep_lease(self) -> None:
        try:
            await self.lease.run()
        except Fenced as fenced:
            self.step(messages.FencedOff(fenced.current))

    async def _save_forever(self) -> None:
        """Bring the record up to date whenever it is behind; the newest state, not each of them."""
        backoff = Backoff(RETRY_SECONDS, RETRY_LIMIT_SECONDS)
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self.writer.update(self._overlay)
                backoff.reset()
            except Fenced as fenced:
                self.step(messages.FencedOff(fenced.current))
                return
            except NotBound:
                return
            except (CoditectError, OSError) as error:
                logger.warning("session %s is not saved yet: %s", self.session_id, error)
                self._dirty.set()
                await self.services.clock.sleep(backoff.next())
            self._wake()

    async def _tick_forever(self) -> None:
        clock = self.services.clock
        while True:
            changed = self._changed
            now = clock.monotonic()
            due = self.machine.deadline
            if due is not None and due <= now:
                self.step(messages.Tick())
                await asyncio.sleep(0)
                continue
            await self._sleep_until_changed(changed, None if due is None else due - now)

    async def _sleep_until_changed(self, changed: asyncio.Event, seconds: float | None) -> None:
        if seconds is None:
            await changed.wait()
            return
        await wait_for_event(changed, self.services.clock.sleep(seconds))

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
