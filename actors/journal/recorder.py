"""Keeps what the terminals of one node print: from CODI into the store, in shared commits.

One connection to each container, also to the warm ones, so that a claim waits for none. What a
container's terminals print arrives in batches; whatever waits is committed together, and only then
does CODI show it. So a byte that anybody has seen is in the store, and after any death the
numbering goes on where the store says. The fence is the terminal's record: it names the container
whose output is taken, and every commit reads it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from actors.core import informer
from actors.core.backoff import Backoff
from actors.core.errors.base import CoditectError
from actors.core.errors.sessions import Fenced
from actors.core.ports.codi import (
    JournalConnection,
    JournalMessage,
    PortsChanged,
    TerminalExited,
    TerminalMoved,
    TerminalOpened,
    TerminalPrinted,
    TerminalSized,
)
from actors.core.ports.journal import Output
from actors.core.ports.services import Services
from actors.core.records.containers import ContainerHandle, ContainerStatus
from actors.core.records.terminals import TerminalRecord
from actors.core.statistics import Histogram
from actors.core.tasks import Tasks
from actors.journal.backlog import Backlog, JournalRules

logger = logging.getLogger(__name__)

MAX_LINKS = 8192
SAY_SECONDS = 5.0
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
TRIM_SECONDS = 2.0
TRIM_AGAIN_SECONDS = 10.0
STORE_PAUSE = 0.1
PORTS_SECONDS = 0.5
"""The shortest time between two events about one container's ports, however often it reports them."""

_CONNECTABLE = frozenset({ContainerStatus.WARM, ContainerStatus.READY})


@dataclass(eq=False, slots=True)
class _Link:
    """A connection to a container. ``records`` are its terminals by the connection's numbers.

    ``ports`` are what it said last, until its session is told; ``telling``: somebody is about to.
    """

    container_id: str
    connection: JournalConnection
    records: dict[int, TerminalRecord] = field(default_factory=dict)
    opening: dict[int, asyncio.Task[Any]] = field(default_factory=dict)
    ports: PortsChanged | None = None
    telling: bool = False


_Key = tuple[_Link, int]


class JournalRecorder:
    """The journal of one node. Belongs to one event loop; ``run`` until cancelled, then ``close``."""

    def __init__(self, services: Services, rules: JournalRules | None = None) -> None:
        self._services = services
        self._containers = informer.of_containers(services)
        self._backlog: Backlog[_Key, Output] = Backlog(rules or JournalRules())
        self._arrived = asyncio.Event()
        self._committing = asyncio.Lock()
        self._links: dict[str, asyncio.Task[Any]] = {}
        self._connected: dict[str, _Link] = {}
        self._unnoted: dict[_Key, dict[str, Any]] = {}
        self._tasks = Tasks(limit=4 * MAX_LINKS)
        self._commit_seconds = Histogram()
        self._commits = self._bytes = self._batches = self._failures = self._refused = (
            self._trimmed
        ) = 0

    async def run(self) -> None:
        """Connect, keep and commit until cancelled."""
        committing = self._tasks.spawn("commit output", self._commit_forever())
        sweeping = self._tasks.spawn("find containers", self._sweep_forever())
        trimming = self._tasks.spawn("trim journals", self._trim_forever())
        tasks = {committing, sweeping, trimming}
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()

    async def close(self) -> None:
        """End every connection and task."""
        await self._tasks.close()

    def watch(self, handle: ContainerHandle) -> None:
        """Connect to a container unless that is under way. Idempotent."""
        container_id = handle.container_id
        if container_id not in self._links and len(self._links) < MAX_LINKS:
            self._links[container_id] = self._tasks.spawn(
                f"journal of {container_id}", self._follow(handle)
            )

    def stats(self) -> dict[str, Any]:
        """Return counters, gauges and distributions; see ``actors.core.statistics``."""
        return {
            "journal_containers": len(self._connected),
            "journal_terminals": sum(len(link.records) for link in self._connected.values()),
            "journal_waiting": len(self._backlog),
            "journal_commits_total": self._commits,
            "journal_batches_total": self._batches,
            "journal_bytes_total": self._bytes,
            "journal_refused_total": self._refused,
            "journal_trimmed_bytes_total": self._trimmed,
            "journal_failures_total": self._failures + self._tasks.failures,
            "journal_commit_seconds": self._commit_seconds.snapshot(),
        } | self._containers.stats("containers")

    # ---- containers -----------------------------------------------------------------------------

    async def _sweep_forever(self) -> None:
        services = self._services
        while True:
            try:
                await self._sweep()
            except (CoditectError, OSError) as error:
                self._failures += 1
                logger.warning("the journal does not see all containers: %s", error)
            await self._containers.wait(services.settings.reconcile_interval)

    async def _sweep(self) -> None:
        """Connect to whatever the store says is there, and let go of the rest."""
        records = (await self._containers.refresh()).values()
        there = {r.container_id: r.handle for r in records if r.status in _CONNECTABLE}
        for handle in there.values():
            if handle is not None:
                self.watch(handle)
        for container_id in self._links.keys() - there.keys():
            if container_id not in self._connected:
                self._links.pop(container_id).cancel()

    async def _follow(self, handle: ContainerHandle) -> None:
        """Hold the connection to a container, and make it again, until the container is gone."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        try:
            while True:
                try:
                    connection = await self._services.codi.connect_journal(handle)
                except CoditectError as error:
                    logger.info("container %s: no journal yet: %s", handle.container_id, error)
                else:
                    backoff.reset()
                    await self._serve(_Link(handle.container_id, connection))
                await self._services.clock.sleep(backoff.next())
        finally:
            if self._links.get(handle.container_id) is asyncio.current_task():
                del self._links[handle.container_id]

    async def _serve(self, link: _Link) -> None:
        self._connected[link.container_id] = link
        try:
            while True:
                self._take(link, await link.connection.receive())
        except CoditectError as error:
            logger.info("container %s: its journal ended: %s", link.container_id, error)
        finally:
            if self._connected.get(link.container_id) is link:
                del self._connected[link.container_id]
            for number in link.records:
                self._backlog.drop((link, number))
            for task in link.opening.values():
                task.cancel()
            await link.connection.close()

    async def _trim_forever(self) -> None:
        """Keep users' journals within their quotas, behind the commits, which never wait for that."""
        clock = self._services.clock
        trimmed, at = -1, clock.monotonic()
        while True:
            await clock.sleep(TRIM_SECONDS)
            kept, now = self._bytes, clock.monotonic()
            # Only what was printed here, or a quota that was lowered, makes a journal too long.
            if kept == trimmed and now - at < TRIM_AGAIN_SECONDS:
                continue
            try:
                self._trimmed += await self._services.journal.trim()
                trimmed, at = kept, now
            except (CoditectError, OSError) as error:
                self._failures += 1
                logger.warning("journals are not trimmed: %s", error)

    # ---- terminals ------------------------------------------------------------------------------

    def _take(self, link: _Link, message: JournalMessage) -> None:
        match message:
            case TerminalOpened():
                former = link.opening.pop(message.terminal, None)
                if former is not None:
                    former.cancel()
                replaces = self._forget_namesakes(link, message)
                link.opening[message.terminal] = self._tasks.spawn(
                    f"open {message.name} of {link.container_id}",
                    self._open(link, message, replaces=replaces),
                )
            case TerminalPrinted(terminal):
                record = link.records.get(terminal)
                if record is not None:
                    self._backlog.add((link, terminal), (record, message), len(message.data))
                    self._arrived.set()
            case TerminalMoved(terminal, cwd):
                self._note(link, terminal, cwd=cwd)
            case TerminalSized(terminal, sizing):
                self._note(link, terminal, sizing=sizing)
            case TerminalExited(terminal, code):
                self._note(link, terminal, exit_code=-1 if code is None else code)
            case PortsChanged():
                link.ports = message
                self._tell(link)

    def _forget_namesakes(self, link: _Link, opened: TerminalOpened) -> bool:
        """Take no more output of deleted terminals of this name; say whether there were any."""
        namesakes = [
            number
            for number, record in link.records.items()
            if record.name == opened.name and number != opened.terminal
        ]
        for number in namesakes:
            del link.records[number]
            self._backlog.drop((link, number))
        return bool(namesakes)

    async def _open(self, link: _Link, opened: TerminalOpened, *, replaces: bool) -> None:
        """Give a terminal its numbers as soon as the store says that the container is its session's."""
        if replaces:
            async with self._committing:
                pass  # what is being kept of a namesake comes before the first number
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                record = await self._services.journal.open_terminal(
                    link.container_id, opened, self._services.clock.now()
                )
                break
            except Fenced:
                self._refused += 1
            except (CoditectError, OSError) as error:
                self._failures += 1
                logger.warning("terminal %s is not numbered yet: %s", opened.name, error)
            await self._services.clock.sleep(backoff.next())
        link.records[opened.terminal] = record
        link.opening.pop(opened.terminal, None)
        self._tell(link)
        number = link.connection.number
        numbers = opened.terminal, record.end, record.inputs, record.sizing
        await self._say(link, partial(number, *numbers))

    def _tell(self, link: _Link) -> None:
        """Have a session's followers told of its ports; whose container it is, its terminals' records say."""
        if link.ports is None or link.telling or not link.records:
            return
        link.telling = True
        if self._tasks.offer(f"ports of {link.container_id}", self._publish_ports(link)) is None:
            link.telling = False

    async def _publish_ports(self, link: _Link) -> None:
        try:
            while link.ports is not None and link.records:
                session_id = next(iter(link.records.values())).session_id
                ports, link.ports = link.ports.ports, None
                data = {"ports": [each.model_dump(mode="json") for each in ports]}
                self._services.events.publish(session_id, "ports", data)
                await self._services.clock.sleep(PORTS_SECONDS)
        finally:
            link.telling = False

    def _note(self, link: _Link, terminal: int, **changes: Any) -> None:
        """Have something noted of a terminal; of what waits for the store, only the newest counts."""
        key = link, terminal
        record = link.records.get(terminal)
        if key in self._unnoted:
            self._unnoted[key] |= changes
        elif record is not None and self._tasks.offer(
            f"note {record.name}", self._write_notes(key, record)
        ):
            self._unnoted[key] = changes

    async def _write_notes(self, key: _Key, record: TerminalRecord) -> None:
        """Note until the store has it, or until a namesake or a newer connection has more to say."""
        link, number = key
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        try:
            while changes := self._unnoted[key]:
                if number not in link.records:
                    return
                if self._connected.get(link.container_id, link) is not link:
                    return
                self._unnoted[key] = {}
                try:
                    await self._services.journal.note(
                        record.session_id,
                        record.name,
                        link.container_id,
                        now=self._services.clock.now(),
                        **changes,
                    )
                except (CoditectError, OSError) as error:
                    self._failures += 1
                    logger.warning("terminal %s: %s waits: %s", record.name, changes, error)
                    self._unnoted[key] = changes | self._unnoted[key]
                    await self._services.clock.sleep(backoff.next())
                else:
                    backoff.reset()
        finally:
            del self._unnoted[key]

    # ---- commits --------------------------------------------------------------------------------

    async def _commit_forever(self) -> None:
        clock = self._services.clock
        while True:
            due = self._backlog.next_due(clock.monotonic())
            if due is None:
                await self._arrived.wait()
            elif due > 0.0:
                await self._until_due(due)
            self._arrived.clear()
            taken = self._backlog.take(clock.monotonic())
            if taken:
                async with self._committing:
                    await self._commit(taken)

    async def _until_due(self, seconds: float) -> None:
        """Wait until a terminal may write again, or another one has printed."""
        sleeping = asyncio.ensure_future(self._services.clock.sleep(seconds))
        arriving = asyncio.ensure_future(self._arrived.wait())
        try:
            await asyncio.wait({sleeping, arriving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleeping, arriving):
                task.cancel()
            await asyncio.gather(sleeping, arriving, return_exceptions=True)

    async def _commit(self, taken: dict[_Key, Output]) -> None:
        """Keep these until the store has them: what is not kept is not shown, and not lost either."""
        clock = self._services.clock
        began = clock.monotonic()
        while True:
            try:
                kept = await self._services.journal.append(list(taken.values()), clock.now())
                break
            except (CoditectError, OSError) as error:
                self._failures += 1
                logger.warning("output of %d terminals waits: %s", len(taken), error)
                await clock.sleep(STORE_PAUSE)
        self._commit_seconds.observe(clock.monotonic() - began)
        self._commits += 1
        self._batches += len(taken)
        self._bytes += sum(len(printed.data) for _, printed in taken.values())
        ends: dict[_Link, list[tuple[int, int]]] = {}
        for (link, number), record in zip(taken, kept, strict=True):
            if record is None:
                self._refused += 1
                link.records.pop(number, None)
            elif number in link.records:
                link.records[number] = record
                ends.setdefault(link, []).append((number, record.end))
        for link, committed in ends.items():
            if not link.connection.keep(committed):
                logger.info("container %s does not hear its journal", link.container_id)
                self._tasks.offer(f"cut {link.container_id}", link.connection.close())

    async def _say(self, link: _Link, say: Callable[[], Awaitable[None]]) -> None:
        """Report to CODI; one that does not listen is cut, and gets it anew on its next connection."""
        try:
            async with asyncio.timeout(SAY_SECONDS):
                await say()
        except (CoditectError, TimeoutError) as error:
            logger.info("container %s does not hear its journal: %s", link.container_id, error)
            await link.connection.close()
