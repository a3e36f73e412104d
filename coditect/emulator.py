"""Takes programs' questions out of a terminal's output, for those who are not the one to answer.

The local terminal answers whatever it is shown, as if somebody typed. So questions are taken out of output
that another attachment answers, or that was answered long ago. No I/O.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

_NEVER = 1 << 62
_USE_AGAIN_SECONDS = 2.0
MAX_HELD = 4096
"""The longest beginning of a sequence that is held back until its end comes."""

# Device attributes, status, version, keyboard, modes and window reports; settings and capabilities;
# colours, and all of the clipboard's (ECMA-48; xterm's ctlseqs).
_QUESTION = re.compile(
    rb"\x05|\x1bZ"
    rb"|\x1b\[[>=]?[0-9;]*c|\x1b\[\??[0-9;]*n|\x1b\[>[0-9;]*q|\x1b\[\?u|\x1b\[\??[0-9;]*\$p"
    rb"|\x1b\[(?:1[1-9]|2[01])(?:;[0-9;]*)?t"
    rb"|\x1bP[+$]q[^\x07\x18\x1a\x1b]*(?:\x07|\x1b\\)"
    rb"|\x1b\](?:(?:4|5|1[0-9]);[^\x07\x18\x1a\x1b]*\?|52;)[^\x07\x18\x1a\x1b]*(?:\x07|\x1b\\)"
)
_UNFINISHED = re.compile(
    rb"\x1b(?:\[[\x20-\x3f]*|P[^\x07\x18\x1a\x1b]*\x1b?|\][^\x07\x18\x1a\x1b]*\x1b?)?\Z"
)
_ANSWER = re.compile(
    rb"(?:\x1b\[[?>=]?[0-9;:]*(?:[cnRtuIO]|\$y)|\x1b[P\]][^\x07\x1b]*(?:\x07|\x1b\\))+\Z"
)


def is_answer(typed: bytes) -> bool:
    """Return whether this is what a terminal says by itself, and not what a person types."""
    return _ANSWER.match(typed) is not None


class Questions:
    """Takes questions out of output; what was held back comes with what follows."""

    def __init__(self) -> None:
        self._held = b""

    def take_out(self, data: bytes) -> bytes:
        """Return what may be shown of output that is not to be answered."""
        data, self._held = self._held + data, b""
        data = _QUESTION.sub(b"", data)
        unfinished = _UNFINISHED.search(data, max(len(data) - MAX_HELD, 0))
        if unfinished is not None:
            data, self._held = data[: unfinished.start()], data[unfinished.start() :]
        return data

    def let_pass(self, data: bytes) -> bytes:
        """Return output that is to be answered, as it is."""
        data, self._held = self._held + data, b""
        return data


class Emulator:
    """Follows what an emulator that shows a session's terminal has to know of its attachment.

    ``hear`` takes the server's control frames, ``show`` numbered output, ``uses`` what is typed.
    """

    def __init__(self) -> None:
        self._questions = Questions()
        self._from = self._until = _NEVER
        self._sizes = False
        self._used_at = -_USE_AGAIN_SECONDS

    def hear(self, frame: Mapping[str, Any]) -> bytes:
        """Take a control frame; return what brings the emulator to where the output begins, if it says."""
        kind = frame.get("type")
        if kind == "attached":
            self._from = self._until = _NEVER
        if kind in {"attached", "resized"}:
            self._sizes = bool(frame.get("sizes"))
        if kind == "snapshot":
            return base64.b64decode(str(frame.get("data", "")))
        if frame.get("answers") is True:
            self._from, self._until = int(frame.get("offset", frame.get("answers_from", 0))), _NEVER
        elif frame.get("answers") is False and kind == "answers":
            self._until = int(frame["offset"])
        return b""

    def show(self, begin: int, data: bytes) -> bytes:
        """Return what to show of output from the byte ``begin`` on: what others answer asks nothing."""
        first = min(max(self._from - begin, 0), len(data))
        last = max(first, min(max(self._until - begin, 0), len(data)))
        parts = (
            self._questions.take_out(data[:first]) if first else b"",
            self._questions.let_pass(data[first:last]) if first < last else b"",
            self._questions.take_out(data[last:]) if last < len(data) else b"",
        )
        return b"".join(parts)

    def uses(self, typed: bytes, now: float) -> bool:
        """Return whether to report to the server, at the monotonic time ``now``, that a person types here."""
        if is_answer(typed):
            return False
        secondary = not self._sizes or self._from == _NEVER or self._until != _NEVER
        if not secondary and now - self._used_at < _USE_AGAIN_SECONDS:
            return False
        self._used_at = now
        return True
