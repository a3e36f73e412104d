"""Decides among the viewers of a terminal: whose size it has, and which emulator answers programs. No I/O.

Programs ask terminals about themselves (DA, DSR, DECRQM, OSC colours; ECMA-48 and xterm's ctlseqs), and an
answer is typed. So one connection answers, and only output from a named byte on: what was printed before
has had its answer, or nobody was there to give one. A size is a claim to be looked at: who does not show
the terminal makes none, and ``codi.terminals.sizing`` decides between the others. Whoever a person used
last answers, and by the default rule sizes; arriving is no use, so a window that opens takes nothing from
the one that is worked in.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass

from cluster.codi.terminals import sizing
from cluster.codi.terminals.sizing import Rule, Size, Sizing

_REMEMBERED = 64
_LISTED = 16
"""Windows that are listed to a connection, at most: each change of one is reported to all."""


@dataclass(frozen=True, slots=True)
class Role:
    """A connection's role. ``answers_from``: the first byte it answers, or no longer does.

    ``sizes``: the terminal has the size that it claims.
    """

    answers: bool
    answers_from: int
    sizes: bool


@dataclass(frozen=True, slots=True)
class Window:
    """A connection that shows the terminal, as others see it listed. ``sets``: the size follows it."""

    label: str
    cols: int
    rows: int
    sets: bool
    own: bool


@dataclass(slots=True)
class _Viewer:
    client: str | None
    label: str
    emulator: bool
    size: Size | None
    arrived: int
    used: int


class Viewers:
    """The connections of one terminal, by their keys.

    The caller asks for ``size`` and ``role`` after a change; ``end`` is where the output ended then.
    """

    def __init__(self) -> None:
        self.rule: Rule = sizing.DEFAULT
        self._viewers: dict[int, _Viewer] = {}
        self._uses: OrderedDict[str, int] = OrderedDict()
        self._order = itertools.count(1)
        self._answering: int | None = None
        self._from = 0

    def add(
        self,
        key: int,
        client: str | None,
        *,
        emulator: bool,
        size: Size | None,
        end: int,
        label: str = "",
    ) -> None:
        """Take a connection; a client that comes back is as recently used as it was."""
        used = self._uses.get(client, 0) if client is not None else 0
        self._viewers[key] = _Viewer(client, label, emulator, size, next(self._order), used)
        self._elect(end)

    def remove(self, key: int, end: int) -> None:
        """Forget a connection. Idempotent."""
        if self._viewers.pop(key, None) is not None:
            self._elect(end)

    def show(self, key: int, size: Size | None, end: int) -> None:
        """Note how large a connection shows the terminal; None: it does not show it."""
        viewer = self._viewers.get(key)
        if viewer is not None:
            viewer.size = size
            if not viewer.emulator and size is not None:
                self._use(viewer)  # a client of the bare protocol has no other way to say so
            self._elect(end)

    def use(self, key: int, end: int) -> None:
        """Note that a person uses the terminal here."""
        viewer = self._viewers.get(key)
        if viewer is not None:
            self._use(viewer)
            self._elect(end)

    @property
    def size(self) -> Size | None:
        """The size that is asked for; None: nobody shows the terminal, and it keeps the one it has."""
        sizing = self._sizing()
        return None if sizing is None else sizing.size

    def role(self, key: int) -> Role:
        """Return what a connection has to know."""
        sizing = self._sizing()
        sizes = (
            sizing is not None and key in sizing.setters and self._viewers[key].size == sizing.size
        )
        return Role(key == self._answering, self._from, sizes)

    def windows(self, key: int) -> tuple[Window, ...]:
        """Return the connections that show the terminal in the order of their coming, as ``key`` sees it.

        Of very many those that the size follows, then those used last.
        """
        sizing = self._sizing()
        if sizing is None:
            return ()
        shown = [each for each, viewer in self._viewers.items() if viewer.size is not None]
        shown.sort(key=lambda each: (each not in sizing.setters, -self._viewers[each].used))
        listed = sorted(shown[:_LISTED], key=lambda each: self._viewers[each].arrived)
        return tuple(
            Window(viewer.label, *viewer.size, sets=each in sizing.setters, own=each == key)
            for each in listed
            if (viewer := self._viewers[each]).size is not None
        )

    def _sizing(self) -> Sizing | None:
        return sizing.decide(self.rule, self._viewers)

    def _use(self, viewer: _Viewer) -> None:
        viewer.used = next(self._order)
        if viewer.client is not None:
            self._uses[viewer.client] = viewer.used
            self._uses.move_to_end(viewer.client)
            if len(self._uses) > _REMEMBERED:
                self._uses.popitem(last=False)

    def _elect(self, end: int) -> None:
        """Let the emulator answer that is looked at, of several the one used last, then the first."""
        able = {key: viewer for key, viewer in self._viewers.items() if viewer.emulator}
        best = max(
            able,
            key=lambda key: (able[key].size is not None, able[key].used, -able[key].arrived),
            default=None,
        )
        if best != self._answering:
            self._answering, self._from = best, end

    def begin_at(self, key: int, offset: int) -> None:
        """Have the answering connection answer from an earlier byte on: its own shell's first."""
        if key == self._answering:
            self._from = min(self._from, offset)
