"""All terminals of the container, by name."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
from dataclasses import dataclass
from functools import partial

from cluster.codi.agent.config import Config
from cluster.codi.agent.errors import AgentError, invalid, not_found
from cluster.codi.agent.fdstore import Store
from cluster.codi.agent.files import files
from cluster.codi.agent.programs.children import Children
from cluster.codi.agent.terminals import shell
from cluster.codi.agent.terminals.journal_feed import JournalFeed
from cluster.codi.agent.terminals.memory import TerminalMemory
from cluster.codi.agent.terminals.shell import Shell
from cluster.codi.agent.terminals.terminal import Terminal
from cluster.codi.terminals.frames import AUTOMATION_PREFIX, BadFrame, check_name

DEFAULT_SIZE = (80, 24)
ALONE_SECONDS = 90.0
"""A program's terminal ends when nobody was attached at two looks in a row that are this far apart."""


_KEY = "terminal-"


@dataclass(slots=True)
class _Place:
    """The part of a terminal that outlives CODI: its key in the store, its memory, and its shell's pid."""

    key: str
    memory: TerminalMemory
    pid: int


class Terminals:
    """Terminals by name. One that has ended stays, with what it printed, until its place is needed.

    Those of a former CODI go on, with their shells and every byte.
    """

    def __init__(
        self,
        config: Config,
        children: Children,
        feed: JournalFeed,
        store: Store,
        *,
        alone_seconds: float = ALONE_SECONDS,
    ) -> None:
        self._config = config
        self._alone_seconds = alone_seconds
        self._looks: dict[Terminal, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._children = children
        self._feed = feed
        self._store = store
        self._terminals: dict[str, Terminal] = {}
        self._places: dict[str, _Place] = {}
        left = store.left_with(_KEY)
        self._serials = itertools.count(1 + max((_serial(key) for key in left), default=0))
        for key in sorted(left, key=_serial):
            self._adopt(key, *left[key])

    @property
    def count(self) -> int:
        """The number of terminals with a shell."""
        return sum(terminal.alive for terminal in self._terminals.values())

    @property
    def all(self) -> list[Terminal]:
        """Every terminal, in the order of their making."""
        return list(self._terminals.values())

    def get(self, name: str) -> Terminal:
        """Return a terminal. Raises AgentError ``not_found``."""
        try:
            return self._terminals[name]
        except KeyError:
            raise not_found(f"terminal {name!r}") from None

    def create(
        self,
        name: str,
        *,
        size: tuple[int, int] | None = None,
        cwd: str | None = None,
    ) -> tuple[Terminal, bool]:
        """Return the terminal of that name, with a shell, and whether the shell is a new one.

        A directory that is gone is no reason to have no shell: it starts in the workspace then.
        Raises AgentError ``too_many`` or ``invalid_argument``, OSError without processes.
        """
        try:
            check_name(name)
        except BadFrame as error:
            raise invalid(str(error)) from None
        terminal = self._terminals.get(name)
        if terminal is not None and terminal.alive:
            return terminal, False
        if terminal is None:
            self._make_room()
        size = size or (terminal.size if terminal else DEFAULT_SIZE)
        started = self._start(cwd, size)
        if terminal is None:
            memory = TerminalMemory(self._config.ring)
            terminal = self._add(name, f"{_KEY}{next(self._serials)}", memory)
        place = self._places[name]
        place.pid = started.child.pid
        self._keep(terminal, [place.memory.descriptor, started.master])
        terminal.run(started, size)
        return terminal, True

    async def delete(self, name: str) -> None:
        """Hang up a terminal and forget it. Raises AgentError ``not_found``."""
        terminal = self.get(name)
        await terminal.hang_up()
        if self._terminals.get(name) is terminal and not terminal.alive:
            self._forget(terminal)

    async def close(self) -> None:
        """Hang up everything."""
        for look in self._looks.values():
            look.cancel()
        self._looks.clear()
        await asyncio.gather(*(terminal.hang_up() for terminal in self.all))

    def _look_after(self, terminal: Terminal, *, was_alone: bool) -> None:
        """End a program's terminal once it has been alone for long: its program has died."""
        if self._terminals.get(terminal.name) is not terminal:
            return
        alone = terminal.clients == 0
        if alone and was_alone:
            task = asyncio.get_running_loop().create_task(self.delete(terminal.name))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            return
        self._looks[terminal] = asyncio.get_running_loop().call_later(
            self._alone_seconds, partial(self._look_after, terminal, was_alone=alone)
        )

    def _make_room(self) -> None:
        if len(self._terminals) < self._config.max_terminals:
            return
        for terminal in self._terminals.values():
            if not terminal.alive and terminal.protocol.complete:
                self._forget(terminal)
                return
        raise AgentError(
            409, "too_many", f"a session has up to {self._config.max_terminals} terminals"
        )

    def _forget(self, terminal: Terminal) -> None:
        del self._terminals[terminal.name]
        if terminal in self._looks:
            self._looks.pop(terminal).cancel()
        place = self._places.pop(terminal.name)
        self._store.drop(place.key)
        place.memory.close()
        self._feed.forget(terminal)

    # ---- what outlives CODI ---------------------------------------------------------------------

    def _add(self, name: str, key: str, memory: TerminalMemory) -> Terminal:
        self._places[name] = _Place(key, memory, 0)
        terminal = Terminal(name, memory, self._config.ring, self._feed, self._release)
        self._terminals[name] = terminal
        if name.startswith(AUTOMATION_PREFIX):
            self._look_after(terminal, was_alone=False)
        return terminal

    def _release(self, terminal: Terminal) -> None:
        place = self._places.get(terminal.name)
        if place is not None:
            self._keep(terminal, [place.memory.descriptor])

    def _keep(self, terminal: Terminal, descriptors: list[int]) -> None:
        place = self._places[terminal.name]
        stored = {"name": terminal.name, "pid": place.pid, "code": terminal.exit_code}
        self._store.put(place.key, json.dumps(stored).encode(), descriptors)

    def _adopt(self, key: str, content: bytes, descriptors: list[int]) -> None:
        """Go on with a terminal of a former CODI. One of another build's making is given up."""
        stored = json.loads(content)
        try:
            memory = TerminalMemory(self._config.ring, descriptors[0])
        except (ValueError, IndexError):
            self._store.drop(key)
            for descriptor in descriptors:
                os.close(descriptor)
            return
        terminal = self._add(stored["name"], key, memory)
        self._places[stored["name"]].pid = stored["pid"]
        if len(descriptors) == 1:  # its shell had ended, or was to end
            code = stored["code"]
            terminal.have_ended(code if code is not None else 128 + signal.SIGHUP)
            return
        adopted = Shell(descriptors[1], self._children.adopt(stored["pid"]))
        with contextlib.suppress(OSError):
            terminal.size = adopted.size()
        terminal.go_on(adopted)

    def _start(self, cwd: str | None, size: tuple[int, int]) -> Shell:
        try:
            directory = files.require_directory(cwd or self._config.workspace)
        except (AgentError, OSError):
            directory = files.require_directory(self._config.workspace)
        try:
            return shell.start(self._children, directory, *size)
        finally:
            os.close(directory)


def _serial(key: str) -> int:
    return int(key.removeprefix(_KEY))
