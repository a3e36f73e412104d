"""One terminal: a shell, its newest output, the journal that keeps it, and the sockets that watch it."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Any, Protocol

from cluster.codi.agent.terminals.memory import TerminalMemory
from cluster.codi.agent.terminals.shell import Shell
from cluster.codi.agent.terminals.viewers import Role, Viewers, Window
from cluster.codi.terminals.frames import Request, control
from cluster.codi.terminals.protocol import Attached, TerminalProtocol
from cluster.codi.terminals.sizing import Rule

INPUT_BOUND = 64 << 10
"""Input that the programs have not read; beyond it, who types has to wait."""

_UNWATCHED_PAUSE_SECONDS = 0.004
_CWD_SECONDS = 0.5
_HANG_UP_SECONDS = 1.0


class Watcher(Protocol):
    """A client's socket, as its terminal notifies it."""

    key: int

    def pump(self) -> None:
        """Send what is there to be sent: output, then how much input is kept."""
        ...

    def send_control(self, frame: str) -> None:
        """Send a text frame."""
        ...

    def inform(self) -> None:
        """Report changes of the size and of this connection's role."""
        ...

    def cut(self, reason: str) -> None:
        """End the connection of a slow client."""
        ...

    def replace(self) -> None:
        """End the connection: its client has come back on another one."""
        ...

    def hold_input(self, *, held: bool) -> None:
        """Stop or go on reading from the client."""
        ...


class Waiting(Protocol):
    """A watcher that waits to learn where its client stands."""

    def try_attach(self) -> bool:
        """Attach if that can be done now; say whether this one waits no more."""
        ...


class Feed(Protocol):
    """The way of a container's terminals to the journal."""

    def open(self, terminal: Terminal) -> None:
        """Announce a terminal's new shell."""

    def changed(self, terminal: Terminal) -> None:
        """Hand over what is new, unless the last batch is still under way."""

    def typed(self, terminal: Terminal) -> None:
        """Hand input counts over with the output that they cause, or a moment later without any."""

    def moved(self, terminal: Terminal, cwd: str | None) -> None:
        """Report where the shell is now."""

    def sized(self, terminal: Terminal) -> None:
        """Report by which rule somebody wants the terminal sized."""

    def exited(self, terminal: Terminal) -> None:
        """Report the end of a shell, behind its last byte."""


class Terminal:
    """Moves bytes between a shell and its watchers, as the protocol decides."""

    def __init__(
        self,
        name: str,
        memory: TerminalMemory,
        ring: int,
        feed: Feed,
        release: Callable[[Terminal], None],
    ) -> None:
        """``release`` is called when the shell ends, or shall: nobody else may hold its terminal open."""
        self.name = name
        self.protocol = TerminalProtocol(ring, memory.ring)
        self._memory = memory
        self._release = release
        self._feed = feed
        self.size = (80, 24)
        self.chosen_sizing: Rule | None = None
        self.exit_code: int | None = None
        self.cwd: str | None = None
        self._shell: Shell | None = None
        self._watchers: dict[int, Watcher] = {}
        self._viewers = Viewers()
        self._to_attach: list[Waiting] = []
        self._loop = asyncio.get_running_loop()
        self._reading = False
        self._resting: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        counts, pending = memory.input()
        self.protocol.recount(counts)
        self._input = bytearray(pending)
        self._writing = False
        self._held = False
        self._waiting: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """True while there is a shell."""
        return self._shell is not None

    @property
    def clients(self) -> int:
        """The number of attached clients."""
        return len(self._watchers)

    @property
    def ended(self) -> bool:
        """True once everything that the shell printed is kept and no more can come."""
        return self._shell is None and self.protocol.complete

    def describe(self) -> dict[str, Any]:
        """Return the terminal as the API shows it."""
        return {
            "name": self.name,
            "cols": self.size[0],
            "rows": self.size[1],
            "sizing": self._viewers.rule,
            "start_offset": self.protocol.ring.start,
            "end_offset": self.protocol.kept,
            "cwd": self._directory(),
            "pid": self._shell.child.pid if self._shell else None,
            "clients": len(self._watchers),
            "exited": not self.alive,
            "exit_code": self.exit_code,
        }

    def announcement(self) -> dict[str, Any]:
        """Return what the journal is told of it."""
        cols, rows = self.size
        return {"name": self.name, "cols": cols, "rows": rows, "cwd": self._directory()}

    def run(self, shell: Shell, size: tuple[int, int]) -> None:
        """Begin with a shell that was just started."""
        assert self._shell is None
        if self.exit_code is not None:
            self.protocol.new_shell()
        self.size = size
        self.go_on(shell)

    def go_on(self, shell: Shell) -> None:
        """Begin with a shell, which may have run under a former CODI; its size is known."""
        self._shell, self.exit_code = shell, None
        self.cwd = shell.directory()
        self._waiting = self._loop.create_task(self._wait(shell), name=f"terminal {self.name}")
        self._feed.open(self)
        self._read_on()
        if self._input:
            self._write()

    def have_ended(self, code: int) -> None:
        """Begin with what a former CODI has left of a shell that had ended before."""
        self.exit_code = code
        self._feed.open(self)

    def wait_to_attach(self, watcher: Waiting) -> None:
        """Have a watcher try again whenever the journal has kept something."""
        self._to_attach.append(watcher)

    def kept(self) -> None:
        """Show what the journal has kept by now, and read on if the terminal waited for that."""
        if self._to_attach:
            waiting, self._to_attach = self._to_attach, []
            self._to_attach += [watcher for watcher in waiting if not watcher.try_attach()]
        for watcher in list(self._watchers.values()):
            watcher.pump()
        self._read_on()

    def attach(self, watcher: Watcher, request: Request, *, began: bool = False) -> Attached:
        """Add a watcher, once it may be; the caller sends the answer, then pumps.

        ``began``: the shell was started for this one, which so has all of its questions to answer.
        """
        key, end = watcher.key, self.protocol.ring.end
        attached = self.protocol.attach(key, request)
        self._watchers[key] = watcher
        if attached.replaced is not None:
            self._viewers.remove(attached.replaced, end)
            self._watchers.pop(attached.replaced).replace()
        self._viewers.add(
            key,
            request.client,
            emulator=request.emulator,
            size=request.size,
            end=end,
            label=request.label,
        )
        if began:
            self._viewers.begin_at(key, self.protocol.shell_offset)
        if self._held:
            watcher.hold_input(held=True)
        self._settle()
        self._read_on()
        return attached

    def detach(self, key: int) -> None:
        """Remove a watcher. Idempotent."""
        self._watchers.pop(key, None)
        self.protocol.detach(key)
        self._viewers.remove(key, self.protocol.ring.end)
        self._settle()
        self._read_on()

    def role(self, key: int) -> Role:
        """Return what a watcher is to the terminal."""
        return self._viewers.role(key)

    def sizing(self, key: int) -> tuple[Rule, tuple[Window, ...]]:
        """Return by which rule the terminal has its size, and of whom, as a watcher sees it."""
        return self._viewers.rule, self._viewers.windows(key)

    def choose_sizing(self, rule: Rule) -> None:
        """Have the size follow another rule, in this container and, by the journal, in the next ones."""
        self.chosen_sizing = self._viewers.rule = rule
        self._feed.sized(self)
        self._settle()

    def recall_sizing(self, rule: Rule) -> None:
        """Take the rule that the journal has, unless somebody here has chosen: then report that again."""
        if self.chosen_sizing is None:
            self._viewers.rule = rule
            self._settle()
        elif self.chosen_sizing != rule:
            self._feed.sized(self)

    def show(self, key: int, size: tuple[int, int] | None) -> None:
        """Note how large a watcher shows the terminal; None: it does not show it."""
        self._viewers.show(key, size, self.protocol.ring.end)
        self._settle()

    def use(self, key: int) -> None:
        """Note that a person uses the terminal at a watcher."""
        self._viewers.use(key, self.protocol.ring.end)
        self._settle()

    def _settle(self) -> None:
        """Take the size that is asked for, and report to each watcher what has changed for it."""
        size = self._viewers.size
        if size is not None and size != self.size:
            self.size = size
            self.protocol.resized()
            if self._shell is not None:
                self._shell.resize(*size)
        for watcher in list(self._watchers.values()):
            watcher.inform()

    def type(self, key: int, data: bytes) -> None:
        """Give a watcher's input to the shell."""
        accepted = self.protocol.accept(key, data)
        if not accepted:
            return
        if self._shell is None:
            self._feed.changed(self)
            return
        self._input += accepted
        if not self._writing:
            self._write()
        self._keep_input()
        self._hold(held=len(self._input) > INPUT_BOUND)
        self._feed.typed(self)

    def _keep_input(self) -> None:
        self._memory.keep_input(self.protocol.uncounted(), self._input)

    def taken(self) -> None:
        """Note that a watcher took output: the shell may have waited for that."""
        if not self._reading:
            self._read_on()

    async def hang_up(self) -> None:
        """End the shell and wait until it has ended; a shell that will not is killed."""
        shell, waiting = self._shell, self._waiting
        if shell is None or waiting is None:
            return
        self._stop_io(shell)
        self._release(self)
        shell.hang_up()
        await asyncio.wait((waiting,), timeout=_HANG_UP_SECONDS)
        if not waiting.done():
            shell.child.signal_group(9)
            await asyncio.wait((waiting,), timeout=_HANG_UP_SECONDS)

    def _read_on(self) -> None:
        """Watch the shell's output unless the protocol or a rest says to wait."""
        shell = self._shell
        if shell is None or shell.master < 0 or self._reading or self.protocol.paused:
            return
        if self._resting is not None:
            if not self._watchers:
                return
            self._resting.cancel()
            self._resting = None
        self._reading = True
        self._loop.add_reader(shell.master, self._readable)

    def _readable(self) -> None:
        shell = self._shell
        assert shell is not None
        if self.protocol.paused:  # whoever attached last is far behind
            self._stop_reading(shell)
            return
        size = self.protocol.read_size
        count = self._take(shell, size)
        if count is None:
            self._stop_reading(shell)  # nobody has the terminal open; the shell is about to end
            return
        if self.protocol.paused:
            self._stop_reading(shell)
        elif not self._watchers and count == size:
            # Nobody watches what prints without end: it need not have all of the processor.
            self._stop_reading(shell)
            self._resting = self._loop.call_later(_UNWATCHED_PAUSE_SECONDS, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self._read_on()

    def _take(self, shell: Shell, size: int) -> int | None:
        """Read up to ``size`` bytes (the kernel has 4 KiB at a time); None: the terminal is closed."""
        ring, taken = self.protocol.ring, 0
        while taken < size:
            try:
                waiting = min(shell.waiting(), size - taken)
                self._cut_laggards(waiting)
                os.readv(shell.master, ring.begin_reading(waiting))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                if taken == 0:
                    return None
                break
            finally:
                taken += ring.end_reading()
        if taken:
            self._printed()
        return taken

    def _cut_laggards(self, count: int) -> None:
        for key in self.protocol.laggards(count):
            watcher = self._watchers[key]
            self.detach(key)
            watcher.cut("too far behind the other clients")

    def _printed(self) -> None:
        """Hand over what was read to the journal, and through it to whoever can take it."""
        self.protocol.printed()
        self._feed.changed(self)
        if self._looking is None:
            self._looking = self._loop.call_later(_CWD_SECONDS, self._look_again)

    def look(self) -> None:
        """Report to journal and watchers when the shell has gone to another directory."""
        before = self.cwd
        shown = self._directory()
        if self.cwd != before:
            self._feed.moved(self, shown)
            frame = control("cwd", path=shown)
            for watcher in list(self._watchers.values()):
                watcher.send_control(frame)

    def _look_again(self) -> None:
        self._looking = None
        self.look()

    def _directory(self) -> str | None:
        found = self._shell.directory() if self._shell else None
        if found is not None:
            self.cwd = found
        return self.cwd

    def _write(self) -> None:
        """Give the shell what it has room for."""
        shell = self._shell
        if shell is None or shell.master < 0:
            return
        try:
            count = os.write(shell.master, self._input)
        except BlockingIOError:
            count = 0
        except OSError:  # nobody has it open any more
            self._input.clear()
            count = 0
        del self._input[:count]
        if bool(self._input) != self._writing:
            self._writing = bool(self._input)
            if self._writing:
                self._loop.add_writer(shell.master, self._write_on)
            else:
                self._loop.remove_writer(shell.master)
        self._hold(held=len(self._input) > INPUT_BOUND)

    def _write_on(self) -> None:
        self._write()
        self._keep_input()

    def _hold(self, *, held: bool) -> None:
        if held != self._held:
            self._held = held
            for watcher in self._watchers.values():
                watcher.hold_input(held=held)

    async def _wait(self, shell: Shell) -> None:
        """Finish when the shell has ended: everything it printed first, then the end."""
        code = await shell.child.exited
        code = code if code >= 0 else 128 - code  # as shells report it
        if shell.master >= 0:
            # Programs that it left behind may print without end, and the journal may be away.
            while self.protocol.room >= self.protocol.read_size:
                if not self._take(shell, self.protocol.read_size):
                    break
            self._stop_io(shell)
            shell.hang_up()
        self._shell, self.exit_code = None, code
        self._release(self)
        self._input.clear()
        self._keep_input()
        self._hold(held=False)
        self._feed.exited(self)
        for watcher in list(self._watchers.values()):
            watcher.pump()

    def _stop_reading(self, shell: Shell) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(shell.master)

    def _stop_io(self, shell: Shell) -> None:
        self._stop_reading(shell)
        if self._writing:
            self._writing = False
            self._loop.remove_writer(shell.master)
        for timer in (self._resting, self._looking):
            if timer is not None:
                timer.cancel()
        self._resting = self._looking = None
