"""The state that a terminal is left in by what it was sent, as bytes that bring another one there. No I/O.

Programs set a mode once: the alternate screen, application cursor keys, mouse reports, bracketed paste,
colours, a scroll region. When the oldest output is forgotten, that is forgotten with it, and whoever
attaches later shows a wrong terminal. ``Modes`` follows the output and gives a *snapshot* for any byte of
it, amid a sequence or a character too: a terminal that is sent the snapshot and then the rest ends as one
that was sent everything, but for the text itself and where the cursor is.

Sequences are delimited as DEC's terminals do (ECMA-48; Williams' state machine): an ESC begins anew
wherever it comes, CAN and SUB break off, strings end with BEL, ESC or those. Text is skipped by the regular
expression engine, so it costs next to nothing.

Nothing but the standard library: CODI ships this file into containers.
"""

from __future__ import annotations

import re
import unicodedata

from cluster.codi.terminals.state import (
    MAX_TEXT,
    TerminalState,
    join_styles,
    read_sets,
    write,
    write_sets,
)

MAX_PARTIAL = 2 << 10
"""The longest part of a sequence that is kept; of a longer string only the kind is."""

_MAX_MODES = 64
_MAX_PARAMETERS = 128
_MAX_COLOURS = 2 << 10
_MAX_STOPS = 128
_MAX_STYLES = 64
_ESC = b"\x1b"

_SEQUENCE = re.compile(
    rb"\x1b(?:"
    rb"\[([0-9;:]*)m"
    rb"|\[([\x00-\x17\x19\x1c-\x1f\x30-\x3f]*)([\x20-\x2f]*)([ghlmpqrsu])"
    rb"|\]([^\x07\x18\x1a\x1b]*)(?:\x07|(?=[\x18\x1a\x1b]))"
    rb"|[PX^_][^\x18\x1a\x1b]*(?=[\x18\x1a\x1b])"
    rb"|([\x20-\x2f]*)([\x30-\x4f\x51-\x57\x59\x5a\x5c\x60-\x7e])"
    rb")|([\x0e\x0f])"
)
_PARTIAL = re.compile(
    rb"\x1b(?:\[[\x00-\x17\x19\x1c-\x1f\x20-\x3f]*|\][^\x07\x18\x1a\x1b]*|[PX^_][^\x18\x1a\x1b]*|[\x20-\x2f]*)\Z"
)
_STRING_ENDS = {b"]": re.compile(rb"[\x07\x18\x1a\x1b]"), b"P": re.compile(rb"[\x18\x1a\x1b]")}
_CONTROLS = re.compile(rb"[\x00-\x1f]")
_LINE_PART = re.compile(
    rb"\x1b\[(\d*)([CG])|\x1b\[[\x30-\x3f]*[\x20-\x2f]*[\x40-\x7e]|\x1b.|\t|[^\x1b\t][\x80-\xbf]*"
)

_NO_CELL = frozenset({"Mn", "Me", "Cf"})
_ON_BY_DEFAULT = frozenset({b"?7", b"?8", b"?25"})
_MOUSE = frozenset({b"?9", b"?1000", b"?1001", b"?1002", b"?1003"})
_MOUSE_FORMS = frozenset({b"?1005", b"?1006", b"?1015", b"?1016"})
_SCREENS = frozenset({b"?47", b"?1047", b"?1049"})
# The cursor's place, a screen that is cleared, a frame that is being drawn: of the moment, not of the state.
_PASSING = frozenset({b"?1048", b"?3", b"?2026"})
# What DECSTR gives up of the modes (DEC STD 070).
_SOFT = (b"?1", b"?6", b"?25", b"?66", b"4")


class Modes:
    """Follows one terminal's output: ``feed`` all of it, in order, and ask for a ``snapshot`` anywhere."""

    def __init__(self) -> None:
        self._state = TerminalState()
        self._partial = b""
        self._string = b""
        self._last = b""
        self._line = b""

    def feed(self, data: bytes) -> None:
        """Take the next output."""
        if not data:
            return
        if self._line and len(self._line) > MAX_PARTIAL:
            self._line = b""
        self._last = (self._last + data)[-3:] if len(data) < 3 else data[-3:]
        begin = 0
        if self._string:
            end = _STRING_ENDS[self._string].search(data)
            if end is None:
                return
            self._string, begin = b"", end.start()
        elif self._partial:
            data, self._partial = self._partial + data, b""
        if _ESC in data or b"\x0e" in data or b"\x0f" in data:
            self._follow(data, begin)
        at = data.rfind(b"\r")
        line = data[at:] if at >= 0 else self._line + data
        self._line = line[: len(line) - len(self._partial)]

    def _follow(self, data: bytes, begin: int) -> None:
        for match in _SEQUENCE.finditer(data, begin):
            style = match[1]
            if style is not None:
                self._style(style)
            elif match[4] is not None:
                self._csi(match, data)
            elif match[5] is not None:
                self._osc(match[5])
            elif match[7] is not None:
                self._escape(match[6], match[7], data, match.start())
            elif match[8] is not None:
                self._state.shift = b"" if match[8] == b"\x0f" else match[8]
        self._keep_partial(data, begin)

    def resized(self) -> None:
        """Note another size: a terminal gives up its scroll region then."""
        self._state.main.region = self._state.other.region = b""

    def snapshot(self) -> bytes:
        """Return what brings a terminal that was just reset to where this one is."""
        written = write(self._state)
        if self._state.stops is not None:
            column = self._column(b"", 0)
            written += b"" if column is None else b"\x1b[%dG" % (column + 1)
        if self._string:
            # The rest of a string that is too long to be kept is swallowed, as the whole would have been.
            return written + (b"\x1b]99999;" if self._string == b"]" else b"\x1b_")
        return written + (self._partial or _cut_character(self._last))

    def _keep_partial(self, data: bytes, begin: int) -> None:
        at = data.rfind(_ESC)
        partial = _PARTIAL.match(data, at) if at >= begin else None
        if partial is None:
            return
        if len(data) - at <= MAX_PARTIAL:
            self._partial = data[at:]
        elif data[at + 1 : at + 2] in (b"]", b"P", b"X", b"^", b"_"):
            self._string = b"]" if data[at + 1 : at + 2] == b"]" else b"P"

    # ---- sequences ------------------------------------------------------------------------------

    def _csi(self, match: re.Match[bytes], data: bytes) -> None:
        parameters, middle, final = _CONTROLS.sub(b"", match[2]), match[3], match[4]
        if len(parameters) > _MAX_PARAMETERS:
            return
        match (middle, final):
            case (b"", b"h" | b"l"):
                self._set_modes(parameters, on=final == b"h")
            case (b"", b"m"):
                self._style_or_keys(parameters)
            case (b"", b"r") if parameters[:1] != b"?":
                self._state.screen.region = parameters
            case (b"", b"s" | b"u") if not parameters:
                self._save(restore=final == b"u")
            case (b"", b"u"):
                self._keyboard(parameters)
            case (b"", b"g"):
                self._clear_stop(parameters, data, match.start())
            case (b" ", b"q"):
                self._state.cursor = parameters
            case (b"!", b"p"):
                self._soft_reset()

    def _style_or_keys(self, parameters: bytes) -> None:
        if parameters[:1] == b">":
            self._state.keys[b"m" + parameters[1:2]] = parameters
        elif parameters[:1] != b"?":
            self._style(parameters)

    def _style(self, parameters: bytes) -> None:
        styles = self._state.styles
        if parameters in (b"", b"0"):
            styles.clear()
            return
        if styles and styles[-1] == parameters:
            return
        styles.append(parameters)
        if len(styles) > _MAX_STYLES or len(parameters) > _MAX_PARAMETERS:
            styles[:] = [join_styles(styles)]

    def _set_modes(self, parameters: bytes, *, on: bool) -> None:
        state, private = self._state, parameters[:1] == b"?"
        for number in parameters.lstrip(b"?").split(b";"):
            if not number.isdigit():
                continue
            mode = (b"?" if private else b"") + (number.lstrip(b"0") or b"0")
            if mode in _SCREENS:
                self._switch(mode, on=on)
            elif mode not in _PASSING:
                for group in (_MOUSE, _MOUSE_FORMS):
                    if mode in group:  # one of them, or none
                        for each in group:
                            state.modes.pop(each, None)
                state.modes.pop(mode, None)
                if on != (mode in _ON_BY_DEFAULT) and len(state.modes) < _MAX_MODES:
                    state.modes[mode] = on

    def _switch(self, mode: bytes, *, on: bool) -> None:
        state = self._state
        if mode == b"?1049" and on and not state.alternate:
            state.main.saved = self._saved()
        if not on and state.alternate:
            state.alternate = b""
            if mode == b"?1049":
                self._save(restore=True)
        elif on:
            state.alternate = mode

    def _saved(self) -> tuple[bytes, bytes]:
        return join_styles(self._state.styles), write_sets(self._state)

    def _save(self, *, restore: bool) -> None:
        screen = self._state.screen
        if not restore:
            screen.saved = self._saved()
        else:
            styles, sets = screen.saved or (b"", b"")
            self._state.styles = [styles] if styles else []
            self._state.sets, self._state.shift = read_sets(sets)

    def _keyboard(self, parameters: bytes) -> None:
        """Follow the flags of kitty's keyboard protocol: pushed, popped and set."""
        state, kind = self._state, parameters[:1]
        if kind == b">":
            state.pushed = [*state.pushed, parameters[1:]][-8:]
        elif kind == b"<":
            count = int(parameters[1:]) if parameters[1:].isdigit() else 1
            del state.pushed[max(len(state.pushed) - count, 0) :]
        elif kind == b"=":
            state.keys[b"u"] = parameters

    def _soft_reset(self) -> None:
        state = self._state
        for mode in _SOFT:
            state.modes.pop(mode, None)
        state.styles, state.sets, state.shift, state.keypad = [], {}, b"", False
        state.screen.region, state.screen.saved = b"", None

    def _escape(self, between: bytes, last: bytes, data: bytes, at: int) -> None:
        state = self._state
        if between:
            if between in (b"(", b")", b"*", b"+", b"-", b".", b"/"):
                state.sets.pop(between, None)
                if last != b"B":  # ASCII, as at the beginning
                    state.sets[between] = last
            return
        if last == b"c":
            self._state = TerminalState()
        elif last in b"78":
            self._save(restore=last == b"8")
        elif last in b"=>":
            state.keypad = last == b"="
        elif last == b"H":
            self._set_stop(data, at)
        elif last in b"no|}~":
            state.shift = _ESC + last

    def _osc(self, text: bytes) -> None:
        state = self._state
        code, _, rest = text.partition(b";")
        if code in (b"0", b"2"):
            state.title = _whole(rest[:MAX_TEXT])
        elif code == b"4":
            parts = rest.split(b";")
            for index, colour in zip(parts[::2], parts[1::2], strict=False):
                if colour != b"?":
                    self._colour(b"4;" + index, colour)
        elif code in (b"10", b"11", b"12") and rest != b"?":
            self._colour(code, rest)
        elif code == b"104":
            for key in [key for key in state.colours if key.startswith(b"4;")]:
                if not rest or key[2:] in rest.split(b";"):
                    del state.colours[key]
        elif code in (b"110", b"111", b"112"):
            state.colours.pop(code[1:], None)
        elif code == b"8":
            state.link = rest if len(rest) <= 2 * MAX_TEXT and rest != b";" else b""

    def _colour(self, key: bytes, value: bytes) -> None:
        colours = self._state.colours
        colours.pop(key, None)
        if len(key) + len(value) <= 64:
            colours[key] = value
        while sum(map(len, colours.values())) + 8 * len(colours) > _MAX_COLOURS:
            del colours[next(iter(colours))]

    # ---- tab stops ------------------------------------------------------------------------------

    def _set_stop(self, data: bytes, at: int) -> None:
        column = self._column(data, at)
        stops = self._stops()
        if column is not None and len(stops) < _MAX_STOPS:
            stops.add(column)

    def _clear_stop(self, parameters: bytes, data: bytes, at: int) -> None:
        if parameters == b"3":
            self._state.stops = set()
        elif parameters in (b"", b"0"):
            column = self._column(data, at)
            if column is not None:
                self._stops().discard(column)

    def _stops(self) -> set[int]:
        if self._state.stops is None:
            self._state.stops = set(range(0, 1000, 8))
        return self._state.stops

    def _column(self, data: bytes, at: int) -> int | None:
        """Return where the cursor is, if what was printed since the line's beginning says so."""
        line = _whole(self._line + data[:at])
        begin = line.rfind(b"\r")
        if begin < 0 or len(line) - begin > 2 * MAX_PARTIAL:
            return None
        column = 0
        for part in _LINE_PART.finditer(line, begin + 1):
            count, move = part[1], part[2]
            if move == b"G":
                column = max(int(count or b"1") - 1, 0)
            elif move == b"C":
                column += int(count or b"1")
            elif part[0] == b"\t":
                later = [stop for stop in self._stops() if stop > column]
                column = min(later, default=column)
            elif part[0] == b"\b":
                column = max(column - 1, 0)
            elif part[0][:1] != _ESC:
                column += _cells(part[0])
        return min(column, 999)


def _cells(character: bytes) -> int:
    """Return how many cells a character takes: none, one or two."""
    if len(character) == 1:
        return int(character >= b" " and character != b"\x7f")
    text = character.decode("utf-8", "replace")
    return sum(
        0
        if unicodedata.category(each) in _NO_CELL
        else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )


def _whole(text: bytes) -> bytes:
    """Return text without a character at its end that was cut."""
    cut = _cut_character(text[-3:])
    return text[: len(text) - len(cut)] if cut else text


def _cut_character(last: bytes) -> bytes:
    """Return the bytes of a UTF-8 character that ``last``, three bytes or fewer, ends amid."""
    for count in range(1, min(len(last), 3) + 1):
        lead = last[-count]
        if lead >= 0xC0:
            size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return last[-count:] if size > count else b""
        if lead < 0x80:
            return b""
    return b""
