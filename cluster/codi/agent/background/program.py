"""One program by name: its newest output, and the journal that keeps it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Protocol

from cluster.codi.agent.programs.running import Running
from cluster.codi.agent.terminals.memory import TerminalMemory
from cluster.codi.programs.background import KEY_PREFIX, UNKNOWN_EXIT
from cluster.codi.programs.frames import STDOUT
from cluster.codi.terminals.protocol import TerminalProtocol
from cluster.codi.terminals.sizing import Rule

_PAUSE_SECONDS = 0.004
_LEFT_OPEN_SECONDS = 0.2
_KILL_SECONDS = 2.0


class Feed(Protocol):
    """The way to the journal: ``terminals.journal_feed.JournalFeed``."""

    def open(self, source: BackgroundProgram) -> None:
        """Announce it."""

    def changed(self, source: BackgroundProgram) -> None:
        """Hand over what is new."""

    def exited(self, source: BackgroundProgram) -> None:
        """Report its end, behind its last byte."""


class BackgroundProgram:
    """Moves what a program prints into its ring; a byte counts once the journal has kept it.

    Its output is one stream, both outputs in the order in which they were written: a log. While the journal
    is away the program waits, at a quarter of a mebibyte.
    """

    def __init__(
        self,
        name: str,
        memory: TerminalMemory,
        ring: int,
        feed: Feed,
        description: str,
        release: Callable[[BackgroundProgram], None],
        give_up: Callable[[int], None],
    ) -> None:
        """Have the journal keep ``description`` of it; ``release`` is called once it has ended.

        ``give_up`` takes an output that others have open, when the program itself has ended.
        """
        self.name = KEY_PREFIX + name
        self.protocol = TerminalProtocol(ring, memory.ring)
        self.description = description
        self.exit_code: int | None = None
        self.chosen_sizing: Rule | None = None
        self._feed = feed
        self._release = release
        self._give_up = give_up
        self._size = (80, 24)
        self._running: Running | None = None
        self._loop = asyncio.get_running_loop()
        self._reading = False
        self._left: int | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()

    @property
    def alive(self) -> bool:
        """True until it has ended and all that it printed is in the ring."""
        return self._running is not None

    @property
    def ended(self) -> bool:
        """True once it has ended and all of its output is kept."""
        return self._running is None and self.protocol.complete

    @property
    def pid(self) -> int | None:
        """Its number, while it runs."""
        return self._running.child.pid if self._running else None

    def run(self, running: Running, size: tuple[int, int]) -> None:
        """Begin with a program that runs, maybe since a former CODI."""
        self._running, self._size = running, size
        self._feed.open(self)
        running.child.exited.add_done_callback(self._exited)
        self._read_on()

    def have_ended(self, code: int) -> None:
        """Begin with what a former CODI has left of one that had ended."""
        self.exit_code = code
        self._feed.open(self)

    def signal(self, number: int) -> None:
        """Signal it; nothing once it has ended."""
        if self._running is not None:
            self._running.signal(number)

    async def end(self) -> None:
        """Kill it and wait until it has ended, for some time."""
        running = self._running
        if running is None:
            return
        running.kill()
        await asyncio.wait((running.child.exited,), timeout=_KILL_SECONDS)
        self._stop_reading()
        if STDOUT in running.outputs:
            self._leave(running)
        self._finish(running)

    async def moved(self, offset: int | None, seconds: float) -> None:
        """Return when output beyond ``offset`` is kept, or at the end; None: at the end. Within the time."""
        try:
            async with asyncio.timeout(seconds):
                while not self.ended and (offset is None or self.protocol.kept <= offset):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return

    # ---- as the journal's feed sees it ----------------------------------------------------------

    def announcement(self) -> dict[str, Any]:
        """Return what the journal is told of it."""
        cols, rows = self._size
        program = self.description
        return {"name": self.name, "cols": cols, "rows": rows, "cwd": None, "program": program}

    def kept(self) -> None:
        """Go on: the journal has taken something."""
        self._moved.set()
        self._read_on()

    def look(self) -> None:
        """Do nothing: where it is now is nobody's matter."""

    def recall_sizing(self, rule: Rule) -> None:
        """Do nothing: nobody shows it."""

    # ---- output ---------------------------------------------------------------------------------

    def _read_on(self) -> None:
        running = self._running
        if running is None or self._reading or self.protocol.paused or self._pause is not None:
            return
        if STDOUT in running.outputs:
            self._reading = True
            self._loop.add_reader(running.outputs[STDOUT], self._readable)

    def _stop_reading(self) -> None:
        if self._reading and self._running is not None:
            self._loop.remove_reader(self._running.outputs[STDOUT])
        self._reading = False
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _readable(self) -> None:
        running = self._running
        assert running is not None
        size = self.protocol.read_size
        if self._left is not None:
            size = min(size, self._left)
        try:
            data = os.read(running.outputs[STDOUT], size) if size else b""
        except BlockingIOError:
            return
        except OSError:  # of a terminal that nobody has open any more
            data = b""
        if data:
            self.protocol.ring.append(data)
            if self._left is not None:
                self._left -= len(data)
            self._feed.changed(self)
        if self._left == 0 or (not data and (not running.tty or running.child.exited.done())):
            self._stop_reading()
            self._leave(running)
            self._finish(running)
        elif not data or self.protocol.paused:
            self._stop_reading()
        elif len(data) == size:
            # It need not have all of the processor.
            self._stop_reading()
            self._pause = self._loop.call_later(_PAUSE_SECONDS, self._rested)

    def _rested(self) -> None:
        self._pause = None
        self._read_on()

    def _leave(self, running: Running) -> None:
        fd = running.take_output(STDOUT)
        if self._left is None or running.tty:
            os.close(fd)
        else:
            self._give_up(fd)

    # ---- the end --------------------------------------------------------------------------------

    def _exited(self, exited: asyncio.Future[int]) -> None:
        if self._running is not None and not exited.cancelled():
            self._loop.call_later(_LEFT_OPEN_SECONDS, self._read_what_is_left)
            self._finish(self._running)

    def _read_what_is_left(self) -> None:
        """Wait no longer for others that have its output open: what it printed itself is there by now."""
        running = self._running
        if running is None or STDOUT not in running.outputs:
            return
        self._left = running.waiting(STDOUT)
        if self._left:
            self._read_on()
        else:
            self._stop_reading()
            self._leave(running)
            self._finish(running)

    def _finish(self, running: Running) -> None:
        """Report the end, once it has ended and its output has."""
        if self._running is None or running.outputs or not running.child.exited.done():
            return
        self._running = None
        code = running.child.exited.result()
        self.exit_code = UNKNOWN_EXIT if running.adopted else code
        self._release(self)
        self._feed.exited(self)
        self._moved.set()
