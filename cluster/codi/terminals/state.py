"""Settings of a terminal, beside the text it shows; written as the sequences that make them. No I/O.

Nothing but the standard library: CODI ships this file into containers.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

MAX_TEXT = 512
_ESC = b"\x1b"
_NO_SETS = b"\x1b(B\x1b)B\x1b*B\x1b+B\x0f"
_STYLES = {
    **dict.fromkeys((1, 2, 22), "weight"),
    **dict.fromkeys((3, 20, 23), "italic"),
    **dict.fromkeys((4, 21, 24), "underline"),
    **dict.fromkeys((5, 6, 25), "blink"),
    **dict.fromkeys((7, 27), "inverse"),
    **dict.fromkeys((8, 28), "hidden"),
    **dict.fromkeys((9, 29), "struck"),
    **dict.fromkeys((*range(30, 40), *range(90, 98)), "text"),
    **dict.fromkeys((*range(40, 50), *range(100, 108)), "ground"),
    **dict.fromkeys((53, 55), "overline"),
    **dict.fromkeys((58, 59), "line colour"),
}


@dataclass(slots=True)
class Screen:
    """Settings that each of the two screens has for itself: the scroll region, and what DECSC saved."""

    region: bytes = b""
    saved: tuple[bytes, bytes] | None = None


@dataclass(slots=True)
class TerminalState:
    """Settings that were made and not taken back. ``modes`` are those that are not as at the beginning."""

    modes: dict[bytes, bool] = field(default_factory=dict)
    styles: list[bytes] = field(default_factory=list)
    sets: dict[bytes, bytes] = field(default_factory=dict)
    shift: bytes = b""
    keypad: bool = False
    cursor: bytes = b""
    title: bytes | None = None
    colours: dict[bytes, bytes] = field(default_factory=dict)
    link: bytes = b""
    keys: dict[bytes, bytes] = field(default_factory=dict)
    pushed: list[bytes] = field(default_factory=list)
    stops: set[int] | None = None
    alternate: bytes = b""
    main: Screen = field(default_factory=Screen)
    other: Screen = field(default_factory=Screen)

    @property
    def screen(self) -> Screen:
        """The one that is shown."""
        return self.other if self.alternate else self.main


def write(state: TerminalState) -> bytes:
    """Return the state as sequences, in an order in which none undoes another."""
    parts: list[bytes] = []
    if state.stops is not None:
        parts.append(b"\x1b[3g")
        parts += [b"\r\x1b[%dG\x1bH" % (stop + 1) for stop in sorted(state.stops)]
        parts.append(b"\r")
    parts += [b"\x1b]%s;%s\x1b\\" % item for item in state.colours.items()]
    if state.title is not None:
        parts.append(b"\x1b]2;" + state.title + b"\x1b\\")
    screens = [state.main, state.other] if state.alternate else [state.main]
    for screen in screens:
        if screen is state.other and (state.alternate != b"?1049" or state.main.saved is None):
            parts.append(b"\x1b[" + state.alternate + b"h")
        if screen.region:
            parts.append(b"\x1b[" + screen.region + b"r")
        if screen.saved is not None:
            styles, sets = screen.saved
            # Going to the alternate screen saves by itself.
            goes_on = screen is state.main and state.alternate == b"?1049"
            save = b"\x1b[?1049h" if goes_on else b"\x1b7"
            parts += [sets, _select(styles), save]
            parts += [_NO_SETS if sets else b"", _select(b"0") if styles else b""]
    parts += [b"\x1b[" + mode + (b"h" if on else b"l") for mode, on in sorted(state.modes.items())]
    parts += [b"\x1b[" + flags + b"m" for key, flags in state.keys.items() if key != b"u"]
    parts += [b"\x1b[>" + flags + b"u" for flags in state.pushed]
    if b"u" in state.keys:
        parts.append(b"\x1b[" + state.keys[b"u"] + b"u")
    if state.keypad:
        parts.append(b"\x1b=")
    if state.cursor:
        parts.append(b"\x1b[" + state.cursor + b" q")
    parts.append(write_sets(state))
    if state.link:
        parts.append(b"\x1b]8;" + state.link + b"\x1b\\")
    parts.append(_select(join_styles(state.styles)))
    return b"".join(parts)


def _select(styles: bytes) -> bytes:
    return b"\x1b[" + styles + b"m" if styles else b""


def write_sets(state: TerminalState) -> bytes:
    """Return the character sets, designated and invoked."""
    chosen = b"".join(_ESC + place + name for place, name in sorted(state.sets.items()))
    return chosen + state.shift


def read_sets(written: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """Return what ``write_sets`` wrote: what is designated, and what is invoked."""
    sets = {m[1]: m[2] for m in re.finditer(rb"\x1b([()*+\-./])([\x30-\x7e])", written)}
    shift = re.search(rb"\x0e|\x1b[no|}~]", written)
    return sets, shift[0] if shift else b""


def join_styles(styles: list[bytes]) -> bytes:
    """Return one SGR's parameters for several: the last of each kind, ``0`` forgetting all before."""
    kinds: dict[str, bytes] = {}
    for parameters in styles:
        parts = deque(parameters.split(b";"))
        while parts:
            part = parts.popleft()
            head = part.split(b":")[0]
            code = int(head) if head.isdigit() and len(head) < 4 else 0 if not head else -1
            if code == 0:
                kinds.clear()
            elif code in (38, 48, 58) and part == head and parts:
                count = {b"5": 2, b"2": 4}.get(parts[0], 1)
                part = b";".join([part, *(parts.popleft() for _ in range(min(count, len(parts))))])
            kind = _STYLES.get(code)
            if kind == "weight" and code != 22:
                kind = f"weight {code}"  # bold and faint go together
            if kind is None or len(part) > 64:
                continue
            if code == 22:
                kinds.pop("weight 1", None)
                kinds.pop("weight 2", None)
                continue
            kinds.pop(kind, None)
            if code not in (23, 24, 25, 27, 28, 29, 39, 49, 55, 59):
                kinds[kind] = part
    return b";".join(kinds.values())
