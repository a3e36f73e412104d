"""All programs of the container that have a name; those of a former CODI go on, with their output."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from typing import Any, NamedTuple

from cluster.codi.agent.background.program import BackgroundProgram
from cluster.codi.agent.config import Config
from cluster.codi.agent.errors import AgentError, invalid, not_found
from cluster.codi.agent.fdstore import Store
from cluster.codi.agent.programs.children import Children
from cluster.codi.agent.programs.output import LeftOpen
from cluster.codi.agent.programs.running import MAX_NAMED, Running
from cluster.codi.agent.programs.starting import Wanted
from cluster.codi.agent.programs.terminal import environment
from cluster.codi.agent.terminals.journal_feed import JournalFeed
from cluster.codi.agent.terminals.memory import TerminalMemory
from cluster.codi.programs.background import KEY_PREFIX, Description
from cluster.codi.programs.frames import STDOUT
from cluster.codi.terminals.frames import BadFrame, check_name

_KEY = "program-"
_MAX_KEPT = 2 * MAX_NAMED
_NUMBERED_SECONDS = 5.0


class _Place(NamedTuple):
    """The part of a program that outlives CODI: its key in the store, and its memory."""

    key: str
    memory: TerminalMemory


class BackgroundPrograms:
    """Programs by name. One that has ended stays until it is deleted, or its place is needed."""

    def __init__(
        self,
        config: Config,
        children: Children,
        feed: JournalFeed,
        left_open: LeftOpen,
        store: Store,
    ) -> None:
        self._config = config
        self._children = children
        self._feed = feed
        self._left_open = left_open
        self._store = store
        self._programs: dict[str, BackgroundProgram] = {}
        self._places: dict[str, _Place] = {}
        left = store.left_with(_KEY)
        self._serials = itertools.count(1 + max((_serial(key) for key in left), default=0))
        for key in sorted(left, key=_serial):
            self._adopt(key, *left[key])

    def describe(self, name: str) -> dict[str, Any]:
        """Return how a program is. Raises AgentError ``not_found``."""
        program = self.get(name)
        return {
            "name": name,
            "pid": program.pid,
            "running": not program.ended,
            "exit_code": program.exit_code if program.ended else None,
            "kept": program.protocol.kept,
        }

    @property
    def all(self) -> list[dict[str, Any]]:
        """Every program, in the order of their making."""
        return [self.describe(name) for name in self._programs]

    def get(self, name: str) -> BackgroundProgram:
        """Return a program. Raises AgentError ``not_found``."""
        try:
            return self._programs[name]
        except KeyError:
            raise not_found(f"process {name!r}") from None

    async def start(
        self,
        name: str,
        wanted: Wanted,
        tty: tuple[int, int] | None,
        *,
        started_at: float,
        key: str | None,
    ) -> bool:
        """Start a program; false if this request has started it before.

        Returns when the journal has it. Raises AgentError: ``exists`` for another program of this name,
        ``too_many``, ``exhausted`` while the journal is away, and what is wrong with the request.
        """
        try:
            check_name(name)
        except BadFrame as error:
            raise invalid(str(error)) from None
        given = wanted.argv, wanted.cwd, wanted.env, tty
        described = Description.of(*given, started_at, key)
        known = self._programs.get(name)
        if known is not None:
            if Description.parse(known.description).digest != described.digest:
                raise AgentError(409, "exists", "there is another program of this name")
            await self._until_numbered(known)
            return False
        self._make_room()
        place = self._config.workspace, environment(os.environ)
        if tty is None:
            running = Running.with_pipes(self._children, wanted, *place, reads=False, apart=False)
        else:
            running = Running.on_terminal(self._children, wanted, *place, tty)
        memory = TerminalMemory(self._config.ring)
        program = self._add(name, f"{_KEY}{next(self._serials)}", memory, described.encode())
        self._keep(program, running)
        program.run(running, tty or (80, 24))
        await self._until_numbered(program)
        return True

    async def delete(self, name: str) -> None:
        """Kill a program and forget it. Raises AgentError ``not_found``."""
        program = self.get(name)
        await program.end()
        if self._programs.get(name) is program:
            self._forget(name)

    async def close(self) -> None:
        """Kill everything."""
        await asyncio.gather(*(program.end() for program in list(self._programs.values())))

    async def _until_numbered(self, program: BackgroundProgram) -> None:
        """Wait until the journal has it: what is answered outlives the container."""
        async with asyncio.timeout(_NUMBERED_SECONDS):
            while not program.protocol.numbered:
                await program.moved(program.protocol.kept, 0.05)

    def _make_room(self) -> None:
        running = sum(program.alive for program in self._programs.values())
        if running >= MAX_NAMED:
            raise AgentError(409, "too_many", f"up to {MAX_NAMED} processes with names run at once")
        if len(self._programs) >= _MAX_KEPT:
            ended = (name for name, program in self._programs.items() if program.ended)
            if (oldest := next(ended, None)) is None:
                raise AgentError(409, "too_many", "processes that have ended wait to be kept")
            self._forget(oldest)

    def _forget(self, name: str) -> None:
        program = self._programs.pop(name)
        place = self._places.pop(name)
        self._store.drop(place.key)
        place.memory.close()
        self._feed.forget(program)

    # ---- what outlives CODI ---------------------------------------------------------------------

    def _add(
        self, name: str, key: str, memory: TerminalMemory, description: str
    ) -> BackgroundProgram:
        self._places[name] = _Place(key, memory)
        program = self._programs[name] = BackgroundProgram(
            name,
            memory,
            self._config.ring,
            self._feed,
            description,
            self._keep,
            self._left_open.take,
        )
        return program

    def _keep(self, program: BackgroundProgram, running: Running | None = None) -> None:
        name = program.name.removeprefix(KEY_PREFIX)
        place = self._places.get(name)
        if place is None:
            return
        stored: dict[str, Any] = {"name": name, "code": program.exit_code}
        descriptors = [place.memory.descriptor]
        if running is not None:
            stored |= {"pid": running.child.pid, "tty": running.tty}
            descriptors.append(running.outputs[STDOUT])
        # The request is long and said once; it has a message of its own, and no more than one may have.
        stored["description"] = program.description
        self._store.put(place.key, json.dumps(stored).encode(), descriptors)

    def _adopt(self, key: str, content: bytes, descriptors: list[int]) -> None:
        """Go on with a program of a former CODI. One of another build's making is given up."""
        try:
            stored = json.loads(content)
            memory = TerminalMemory(self._config.ring, descriptors[0])
        except (ValueError, IndexError):
            self._store.drop(key)
            for descriptor in descriptors:
                os.close(descriptor)
            return
        program = self._add(stored["name"], key, memory, stored["description"])
        if len(descriptors) == 1:
            program.have_ended(stored["code"])
            return
        child = self._children.adopt(stored["pid"])
        program.run(Running.adopt(child, descriptors[1], tty=stored["tty"]), (80, 24))


def _serial(key: str) -> int:
    return int(key.removeprefix(_KEY))
