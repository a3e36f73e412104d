"""Hands what the terminals print to the journal, and shows it once it is kept.

One connection at a time, the newest. Each terminal has one batch under way: what it prints
meanwhile becomes the next one, so that many small writes cost few commits and the first byte waits
for none. While there is no connection, output waits in each terminal's ring, whose bound stops the
programs; nothing is lost and nothing is shown.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any, Protocol

from cluster.codi.journal_protocol import MAX_BATCH, MAX_STATE, encode_batch
from cluster.codi.terminals.frames import encoded
from cluster.codi.terminals.protocol import TerminalProtocol
from cluster.codi.terminals.sizing import Rule, is_rule

_ECHO_SECONDS = 0.02


class Source(Protocol):
    """Something whose output is kept: a terminal, or a program by name."""

    name: str
    protocol: TerminalProtocol
    exit_code: int | None
    chosen_sizing: Rule | None

    @property
    def alive(self) -> bool:
        """True while it prints."""
        ...

    def announcement(self) -> dict[str, Any]:
        """Return its name, size and directory, and what else the journal keeps of it."""
        ...

    def look(self) -> None:
        """Report if it has gone to another directory."""
        ...

    def kept(self) -> None:
        """Note that the journal has kept something of it, or says what it has."""
        ...

    def recall_sizing(self, rule: Rule) -> None:
        """Take the rule that the journal has for its size."""
        ...


class JournalConnection(Protocol):
    """A connection to the journal, on which the feed sends."""

    def send(self, message: bytes | str) -> None:
        """Send a frame."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection."""
        ...


class _Entry:
    """One terminal: ``under_way`` are the input counts of the batch that is not kept yet.

    ``known``: the journal has answered its announcement on this connection; before, it would not know
    whose a batch is.
    """

    def __init__(self, number: int, terminal: Source) -> None:
        self.number = number
        self.terminal = terminal
        self.under_way: dict[str, int] | None = None
        self.known = False
        self.echo: asyncio.TimerHandle | None = None
        self.exit_reported = True


class JournalFeed:
    """All terminals of the container towards the journal."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._entries: dict[int, _Entry] = {}
        self._connection: JournalConnection | None = None
        self._ports: list[dict[str, Any]] = []

    def ports(self, ports: list[dict[str, Any]]) -> None:
        """Report what listens now; the last report is repeated on the next connection."""
        self._ports = ports
        self._say({"type": "ports", "ports": ports})

    # ---- from the terminals ---------------------------------------------------------------------

    def open(self, terminal: Source) -> None:
        """Announce a terminal's new shell."""
        entry = self._entry(terminal)
        if entry is None:
            entry = _Entry(next(self._numbers), terminal)
            self._entries[entry.number] = entry
        self._announce(entry)

    def changed(self, terminal: Source) -> None:
        """Hand over what is new, unless the last batch is still under way."""
        entry = self._entry(terminal)
        if entry is not None:
            self._flush(entry)

    def typed(self, terminal: Source) -> None:
        """Hand input counts over with the output that they cause, or a moment later without any."""
        entry = self._entry(terminal)
        if entry is not None and entry.echo is None:
            loop = asyncio.get_running_loop()
            entry.echo = loop.call_later(_ECHO_SECONDS, self._flush, entry)

    def moved(self, terminal: Source, cwd: str | None) -> None:
        """Report where the shell is now."""
        entry = self._entry(terminal)
        if entry is not None:
            self._say({"type": "moved", "id": entry.number, "cwd": cwd})

    def sized(self, terminal: Source) -> None:
        """Report by which rule somebody wants the terminal sized, at once or as soon as it is known there."""
        entry = self._entry(terminal)
        if entry is not None and entry.known:
            sizing = terminal.chosen_sizing
            self._say({"type": "sized", "id": entry.number, "sizing": sizing})

    def exited(self, terminal: Source) -> None:
        """Report the end of a shell, behind its last byte."""
        entry = self._entry(terminal)
        if entry is not None:
            entry.exit_reported = False
            self._flush(entry)

    def forget(self, terminal: Source) -> None:
        """Drop a terminal that is gone."""
        entry = self._entry(terminal)
        if entry is not None:
            del self._entries[entry.number]
            if entry.echo is not None:
                entry.echo.cancel()

    # ---- from the journal -----------------------------------------------------------------------

    def connect(self, connection: JournalConnection) -> None:
        """Serve this connection from now on; what was under way on the last one is sent again."""
        former, self._connection = self._connection, connection
        if former is not None:
            former.close(4411, "the journal is connected anew")
        for entry in list(self._entries.values()):
            entry.under_way, entry.known = None, False
            entry.exit_reported = entry.terminal.alive
            self._announce(entry)
        if self._ports:
            self.ports(self._ports)

    def disconnect(self, connection: JournalConnection) -> None:
        """Note the end of a connection. Idempotent."""
        if self._connection is connection:
            self._connection = None

    def receive(self, text: str) -> None:
        """Take a text frame. Raises ValueError, KeyError or TypeError for one that is none."""
        frame = json.loads(text)
        if frame["type"] == "numbered":
            entry = self._entries.get(frame["id"])
            if entry is not None:
                entry.terminal.protocol.number(int(frame["end"]), dict(frame["inputs"]))
                entry.known = True
                sizing = frame.get("sizing")  # absent: an older journal
                if is_rule(sizing):
                    entry.terminal.recall_sizing(sizing)
                self._kept(entry)
        elif frame["type"] == "kept":
            for number, end in frame["ends"]:
                entry = self._entries.get(number)
                if entry is not None and entry.under_way is not None:
                    entry.terminal.protocol.keep(int(end), entry.under_way)
                    entry.under_way = None
                    self._kept(entry)

    # ---- inside ---------------------------------------------------------------------------------

    def _entry(self, terminal: Source) -> _Entry | None:
        return next((e for e in self._entries.values() if e.terminal is terminal), None)

    def _announce(self, entry: _Entry) -> None:
        protocol = entry.terminal.protocol
        kept = protocol.kept if protocol.numbered else None
        announced = {"type": "open", "id": entry.number, "kept": kept}
        self._say(announced | entry.terminal.announcement())

    def _kept(self, entry: _Entry) -> None:
        entry.terminal.kept()
        self._flush(entry)

    def _flush(self, entry: _Entry) -> None:
        if entry.echo is not None:
            entry.echo.cancel()
            entry.echo = None
        connection, protocol = self._connection, entry.terminal.protocol
        if connection is None or not entry.known or entry.under_way is not None:
            return
        offset, data, inputs = protocol.unkept(MAX_BATCH)
        if data or inputs:
            # Before what it printed there: a shell that dies now is started again where it was.
            entry.terminal.look()
            entry.under_way = inputs
            states = {
                at: state
                for at, state in protocol.checkpoints(offset, offset + len(data))
                if len(state) <= MAX_STATE
            }
            connection.send(encode_batch(entry.number, offset, data, inputs, states))
        elif not entry.exit_reported and not entry.terminal.alive:
            entry.exit_reported = True
            code = entry.terminal.exit_code
            self._say({"type": "exited", "id": entry.number, "code": code})

    def _say(self, frame: dict[str, Any]) -> None:
        if self._connection is not None:
            self._connection.send(encoded(frame))
