"""Frames of a program's socket, ``GET /exec/ws`` and its public twin: checked, made, read. No I/O.

From the caller: binary frames are standard input, as it is; text frames are JSON. The first one starts::

    {"type": "start", "argv", "cwd"?, "env"?, "tty"?: {"cols", "rows"}, "on_close"?: "kill"}
    {"type": "end_of_input"}          no more input; on a terminal what Ctrl-D is
    {"type": "resize", "cols", "rows"}
    {"type": "signal", "name"}        to the foreground process group, "INT" or "SIGINT"

To the caller: binary frames are output, behind one byte that is its channel (``STDOUT``, ``STDERR``; on a
terminal all is the former); text frames are JSON::

    {"type": "started", "pid"}
    {"type": "refused", "status", "code", "detail", …}    in place of ``started``; as an answer of HTTP
    {"type": "window", "bytes"}       so many bytes of input were taken: ``WINDOW`` more may be sent
    {"type": "input_closed"}          the program reads no more; input is dropped from here on
    {"type": "ended", "code", "signal"}    behind the last byte of output; one of the two is null

``on_close`` says what becomes of a program whose socket goes: ``kill`` its process group, ``hang_up``
(SIGHUP, as when a connection of sshd breaks), or ``leave`` it running, its output read and thrown away.

Nothing but the standard library: CODI ships this file into containers.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from cluster.codi.terminals.frames import BadFrame, check_size, control

STDOUT, STDERR = 1, 2
WINDOW = 256 << 10
"""Bytes of input that may be under way: sent, and not yet taken by the program."""

MAX_START = 2 << 20
"""Bytes of the first frame, which has arguments and environment."""

CLOSE_BAD_FRAME = 4400
OnClose = Literal["kill", "hang_up", "leave"]
_ON_CLOSE: tuple[OnClose, ...] = get_args(OnClose)
_SIGNALS = {each.name.removeprefix("SIG"): int(each) for each in signal.Signals}


@dataclass(frozen=True, slots=True)
class Start:
    """A program to start. Whoever starts it checks ``argv``, ``cwd`` and ``env``; ``tty`` is a size."""

    argv: Any
    cwd: Any = None
    env: Any = None
    tty: tuple[int, int] | None = None
    on_close: OnClose = "kill"

    def encode(self) -> str:
        """Return the frame."""
        tty = None if self.tty is None else {"cols": self.tty[0], "rows": self.tty[1]}
        return control(
            "start", argv=self.argv, cwd=self.cwd, env=self.env, tty=tty, on_close=self.on_close
        )


@dataclass(frozen=True, slots=True)
class EndOfInput:
    """There is no more input."""


@dataclass(frozen=True, slots=True)
class Resize:
    """The terminal has another size."""

    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal, by its number."""

    number: int


Asked = Start | EndOfInput | Resize | Signal


@dataclass(frozen=True, slots=True)
class Started:
    """The program runs."""

    pid: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The program could not be started, for a reason as an answer of HTTP has it."""

    status: int
    document: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """What the program printed. ``channel``: ``STDOUT`` or ``STDERR``."""

    channel: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Window:
    """So many bytes of input were taken, from the beginning."""

    taken: int


@dataclass(frozen=True, slots=True)
class InputClosed:
    """The program reads no more."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a program: its exit code, or the signal's name without ``SIG``; neither: nobody knows."""

    code: int | None = None
    signal: str | None = None

    @classmethod
    def of(cls, code: int) -> Ended:
        """Return the end that a return code stands for, -N after signal N."""
        return cls(code) if code >= 0 else cls(signal=signal_name(-code))

    @property
    def exit_code(self) -> int | None:
        """The code as ``exec`` has it: -N after signal N."""
        if self.signal is None:
            return self.code
        number = _SIGNALS.get(self.signal)
        return -number if number is not None else -int(self.signal)

    def encode(self) -> str:
        """Return the frame."""
        return control("ended", code=self.code, signal=self.signal)


Told = Started | Refused | Output | Window | InputClosed | Ended


def signal_number(name: Any) -> int:
    """Return a signal's number by its name, with or without ``SIG``. Raises BadFrame."""
    number = _SIGNALS.get(name.removeprefix("SIG")) if isinstance(name, str) else None
    if number is None:
        raise BadFrame(f"signal: one of {', '.join(_SIGNALS)}")
    return number


def signal_name(number: int) -> str:
    """Return a signal's name without ``SIG``; of one that has none its number."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def parse_asked(text: str) -> Asked | None:
    """Read a caller's text frame; None for a type that is unknown. Raises BadFrame."""
    frame = _object(text)
    match frame["type"]:
        case "start":
            argv, cwd, env = (frame.get(name) for name in ("argv", "cwd", "env"))
            return Start(argv, cwd, env, tty_of(frame), _on_close(frame.get("on_close", "kill")))
        case "end_of_input":
            return EndOfInput()
        case "resize":
            return Resize(check_size(frame.get("cols"), frame.get("rows")))
        case "signal":
            return Signal(signal_number(frame.get("name")))
    return None


def _on_close(value: Any) -> OnClose:
    for known in _ON_CLOSE:
        if value == known:
            return known
    raise BadFrame(f"on_close: one of {', '.join(_ON_CLOSE)}")


def tty_of(asked: dict[str, Any]) -> tuple[int, int] | None:
    """Return the size of the terminal that is asked for; None: pipes. Raises BadFrame."""
    tty = asked.get("tty")
    if tty is None:
        return None
    if not isinstance(tty, dict):
        raise BadFrame('tty: {"cols", "rows"}')
    return check_size(tty.get("cols", 80), tty.get("rows", 24))


def parse_told(  # noqa: PLR0911 - a table
    frame: bytes | str,
) -> Told | None:
    """Read a frame to the caller; None for one of a newer CODI. Raises BadFrame."""
    if isinstance(frame, bytes):
        if not frame or frame[0] not in (STDOUT, STDERR):
            raise BadFrame("output begins with its channel")
        return Output(frame[0], frame[1:])
    told = _object(frame)
    try:
        match told["type"]:
            case "started":
                return Started(int(told["pid"]))
            case "refused":
                return Refused(int(told["status"]), told)
            case "window":
                return Window(int(told["bytes"]))
            case "input_closed":
                return InputClosed()
            case "ended":
                code, name = told["code"], told["signal"]
                return Ended(
                    None if code is None else int(code), None if name is None else str(name)
                )
    except (KeyError, TypeError, ValueError) as error:
        raise BadFrame(f"{told['type']}: {error!r}") from None
    return None


def _object(text: str) -> dict[str, Any]:
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise BadFrame("text frames are JSON objects") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise BadFrame('text frames are JSON objects with a "type"')
    return frame
