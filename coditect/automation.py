"""Commands in a terminal: finds what a line of shell printed between its echo and the prompts.

The line that is typed has the command in base64, so that nothing of it means anything to line editing,
history or quoting. Before and after the command the shell prints a mark, an operating system command
of ECMA-48 (8.3.89) with a random word that terminals ignore; the echo of the typed line holds the mark
only as it is written in the source, without its control characters. Any POSIX shell will do.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from typing import Protocol

from coditect.errors import ShellRestarted
from coditect.models import RunResult

PROMPT = b"$ "
_PLAIN_PROMPT = "PS1='$ ' PS2='> ' PROMPT_COMMAND="
MAX_OUTPUT = 16 << 20
_MARK = "8133"  # in no use; OSC 133 marks prompts, and shells may print those themselves
_INTERRUPT = "\x03"
_MARK_ROOM = 128


class Shell(Protocol):
    """A terminal with a shell at its prompt."""

    restarts: int
    """The number of times that its shell was started anew."""

    settled: int
    """``restarts`` when its prompt was made plain last."""

    @property
    def is_own(self) -> bool:
        """True if nobody else types here."""
        ...

    async def read_until(self, pattern: bytes, timeout_seconds: float = 30.0) -> bytes:
        """Return output up to and including ``pattern``."""
        ...

    async def read(self, timeout_seconds: float = 30.0) -> bytes:
        """Return the next output."""
        ...

    def unread(self, data: bytes) -> None:
        """Have the next read begin with that."""
        ...

    async def send(self, data: bytes | str) -> None:
        """Type."""
        ...


async def settle(shell: Shell, timeout_seconds: float) -> None:
    """Make a shell of our own easy to read, and read on to its prompt: ``$ ``, and nothing else.

    No line of it goes into the history, and none is marked as pasted.
    """
    word, restarts = secrets.token_hex(8), shell.restarts
    await shell.send(
        " unset HISTFILE; bind 'set enable-bracketed-paste off' 2>/dev/null;"
        f" {_PLAIN_PROMPT}; printf '\\033]{_MARK};%s\\007' {word}\r"
    )
    await shell.read_until(b"\x1b]%s;%s\x07" % (_MARK.encode(), word.encode()), timeout_seconds)
    await shell.read_until(PROMPT, timeout_seconds)
    shell.settled = restarts


async def run(shell: Shell, command: str, timeout_seconds: float) -> RunResult:
    """Run a command; see ``AsyncTerminal.run``."""
    if "\0" in command:
        raise ValueError("command: a NUL cannot be in it")
    if shell.is_own and shell.settled != shell.restarts:
        await settle(shell, timeout_seconds)
    printed = Printed(secrets.token_hex(8))
    restarts = shell.restarts
    await shell.send(printed.line(command, own=shell.is_own))
    try:
        async with asyncio.timeout(timeout_seconds):
            while (result := printed.result()) is None:
                if shell.restarts != restarts:
                    raise ShellRestarted
                printed.take(await shell.read(timeout_seconds))
    except TimeoutError:
        await shell.send(_INTERRUPT)
        raise TimeoutError(f"the command has not ended within {timeout_seconds:g} s") from None
    shell.unread(printed.rest())
    if shell.is_own:
        await shell.read_until(PROMPT, timeout_seconds)
    return result


class Printed:
    """Finds in a terminal's output what one command printed. No I/O; holds ``MAX_OUTPUT`` at most."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._begin = f"\x1b]{_MARK};{word};begin\x07".encode()
        self._end = re.compile(re.escape(f"\x1b]{_MARK};{word};").encode() + rb"(\d+)\x07")
        self._seen = bytearray()
        self._begun = False
        self._searched = 0
        self._truncated = False
        self._found: re.Match[bytes] | None = None

    def line(self, command: str, *, own: bool) -> str:
        """Return the line that is typed to run ``command``; ``own``: and to have a plain prompt after it."""
        # Surrogate escapes are bytes of file names that are no UTF-8; base64's letters need no quotes.
        packed = base64.b64encode(command.encode("utf-8", "surrogateescape")).decode()
        begin = f"printf '\\033]{_MARK};%s;begin\\007' {self._word}"
        end = f"printf '\\033]{_MARK};%s;%d\\007' {self._word} $?"
        # The command may have set a prompt, as `activate` of a virtual environment does.
        after = f"; {_PLAIN_PROMPT}" if own else ""
        return f' {begin}; eval "$(printf %s {packed} | base64 -d)"; {end}{after}\r'

    def take(self, data: bytes) -> None:
        """Take output of the terminal."""
        self._seen += data
        if not self._begun:
            at = self._seen.find(self._begin)
            if at < 0:
                del self._seen[: -len(self._begin)]
                return
            del self._seen[: at + len(self._begin)]
            self._begun = True
        self._found = self._end.search(self._seen, self._searched)
        if self._found is None and len(self._seen) > MAX_OUTPUT + 2 * _MARK_ROOM:
            del self._seen[MAX_OUTPUT:-_MARK_ROOM]
            self._truncated = True
        self._searched = max(0, len(self._seen) - _MARK_ROOM)

    def result(self) -> RunResult | None:
        """Return what the command printed; None while it runs."""
        if self._found is None:
            return None
        text = bytes(self._seen[: min(self._found.start(), MAX_OUTPUT)]).decode("utf-8", "replace")
        return RunResult(int(self._found[1]), text.replace("\r\n", "\n"), self._truncated)

    def rest(self) -> bytes:
        """Return what came behind the command's output."""
        return bytes(self._seen[self._found.end() :]) if self._found is not None else b""
