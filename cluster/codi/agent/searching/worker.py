"""Looks for names or contents below its working directory. A program of its own: see ``search``.

Reads one JSON object from standard input, and prints one for each match, in the order of the paths, and
one at its end. It imports nothing of CODI.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

_LEFT_OUT = frozenset({b".git", b"node_modules", b".venv", b"__pycache__", b".cache", b".npm"})
_MAX_FILE = 32 << 20
_MAX_READ = 1 << 30
_MAX_LINE = 400
_PROBE = 8192

Parts = tuple[bytes, ...]


def main() -> None:
    """Search, and print what is found."""
    asked = json.loads(sys.stdin.buffer.read())
    deadline = time.monotonic() + float(asked["seconds"])
    search = _Search(asked, deadline)
    for found in search.run():
        _say(found)
    _say({"end": search.reason, "next": search.next})


class _Search:
    def __init__(self, asked: dict[str, Any], deadline: float) -> None:
        self._matches = _matcher(asked["q"], regex=asked["regex"], case=asked["case"])
        self._by_name = asked["kind"] == "name"
        self._everything = bool(asked["everything"])
        self._left = int(asked["limit"])
        self._deadline = deadline
        self._read = 0
        line, _, path = asked["after"].partition(":")
        self._after: Parts = tuple(os.fsencode(path).split(b"/")) if path else ()
        self._after_line = int(line or 0)
        self.reason: str | None = None
        self.next: str | None = None

    def run(self) -> Iterator[dict[str, Any]]:
        for parts, entry in self._walk():
            for found in self._in(parts, entry):
                yield found
                self._left -= 1
                if self._left == 0:
                    self._stop("limit", parts, int(found.get("line", 0)))
                    return
            if time.monotonic() > self._deadline or self._read > _MAX_READ:
                self._stop("time" if self._read <= _MAX_READ else "bytes", parts, sys.maxsize)
                return

    def _stop(self, reason: str, parts: Parts, line: int) -> None:
        self.reason, self.next = reason, f"{line}:{os.fsdecode(b'/'.join(parts))}"

    def _in(self, parts: Parts, entry: os.DirEntry[bytes]) -> Iterator[dict[str, Any]]:
        path = os.fsdecode(b"/".join(parts))
        if self._by_name:
            if parts != self._after and self._matches(os.fsdecode(entry.name)):
                kind = "directory" if entry.is_dir(follow_symlinks=False) else "file"
                yield {"path": path, "type": "link" if entry.is_symlink() else kind}
            return
        first = self._after_line if parts == self._after else 0
        for number, line in enumerate(self._lines(entry), 1):
            if number > first and self._matches(line):
                yield {"path": path, "line": number, "text": line[:_MAX_LINE]}

    def _lines(self, entry: os.DirEntry[bytes]) -> Iterator[str]:
        """Yield a file's lines; none of what is no text, or no file."""
        try:
            fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE:
                return
            data = file.read(_MAX_FILE)
        self._read += len(data)
        if b"\0" not in data[:_PROBE]:
            yield from data.decode("utf-8", "surrogateescape").split("\n")

    def _walk(self) -> Iterator[tuple[Parts, os.DirEntry[bytes]]]:
        """Yield what is there, in the order of the paths' parts, from where a page before has ended."""
        levels = [_entries(b".")]
        names: list[bytes] = []
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
                names = names[:-1]
                continue
            parts = (*names, entry.name)
            if parts < self._after[: len(parts)]:
                continue
            is_directory = entry.is_dir(follow_symlinks=False)
            if not parts < self._after and (self._by_name or not is_directory):
                yield parts, entry
            if is_directory and (self._everything or entry.name not in _LEFT_OUT):
                levels.append(_entries(entry.path))
                names.append(entry.name)


def _entries(path: bytes) -> Iterator[os.DirEntry[bytes]]:
    try:
        with os.scandir(path) as found:
            return iter(sorted(found, key=lambda entry: entry.name))
    except OSError:
        return iter(())


def _matcher(wanted: str, *, regex: bool, case: bool) -> Callable[[str], bool]:
    if regex:
        pattern = re.compile(wanted, 0 if case else re.IGNORECASE)
        return lambda text: pattern.search(text) is not None
    if case:
        return lambda text: wanted in text
    folded = wanted.casefold()
    return lambda text: folded in text.casefold()


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
