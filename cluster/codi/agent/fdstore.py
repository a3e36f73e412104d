"""Keeps what must outlive CODI: descriptors, and some bytes with each, on their way in a socket for ever.

The container's first process holds both ends of a socket pair, never looks at them, and starts CODI
again when it was killed. What CODI sends into it the kernel keeps (SCM_RIGHTS, unix(7)), open
descriptors too, until the next CODI takes it out at the other end: what ``FDSTORE`` of sd_notify(3) is
to services, and no process has to spend memory on it. One message puts, replaces or drops a key; what is
outdated is left out when the messages are sent round once more. Each is sent again before it is taken
out, so whoever kills CODI meanwhile leaves one twice, and none lost.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

MAX_MESSAGE = 32 << 10
_MAX_DESCRIPTORS = 4
_PUT, _DROP, _MARK = b"P", b"D", b"M"
_STALE = 32
_MAX_MESSAGES = 200  # some 300 kB of the kernel's, which every socket may have (socket(7))


class Item(NamedTuple):
    """An entry that was kept under a key."""

    content: bytes
    descriptors: list[int]


class _Message(NamedTuple):
    kind: bytes
    number: int
    key: str
    content: bytes

    @classmethod
    def parse(cls, data: bytes) -> _Message:
        key, _, content = data[9:].partition(b"\0")
        return cls(data[:1], int.from_bytes(data[1:9]), key.decode(), content)

    def encode(self) -> bytes:
        return self.kind + self.number.to_bytes(8) + self.key.encode() + b"\0" + self.content


class Store:
    """Keeps things by key. Without ``descriptors``, the socket pair, it keeps nothing: nobody would ask.

    ``left`` is what a former CODI has put; the descriptors in it are the reader's.
    """

    def __init__(self, descriptors: tuple[int, int] | None) -> None:
        self.left: dict[str, Item] = {}
        self._numbers: dict[str, int] = {}
        self._count = self._last = 0
        self._ends: tuple[socket.socket, socket.socket] | None = None
        if descriptors is not None:
            self._ends = socket.socket(fileno=descriptors[0]), socket.socket(fileno=descriptors[1])
            for end in self._ends:
                os.set_inheritable(end.fileno(), False)  # noqa: FBT003 - its name says it
                end.setblocking(False)  # noqa: FBT003
            self._recover()

    @property
    def lasts(self) -> bool:
        """True if another CODI takes over when this one is killed."""
        return self._ends is not None

    def left_with(self, prefix: str) -> dict[str, Item]:
        """Return what was left under keys that begin so."""
        return {key: item for key, item in self.left.items() if key.startswith(prefix)}

    def put(self, key: str, content: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """Keep something in place of what had this key. The descriptors stay the caller's, too."""
        if self._ends is not None and self._say(_PUT, key, content, descriptors):
            self._numbers[key] = self._last

    def drop(self, key: str) -> None:
        """Forget something. Idempotent. Its descriptors are closed before this returns."""
        if self._numbers.pop(key, None) is not None:
            self._say(_DROP, key, b"", ())
            self._tidy()

    def _say(self, kind: bytes, key: str, content: bytes, descriptors: Sequence[int]) -> bool:
        """Send a message; false when there is no room: this is lost if CODI is killed, and nothing else."""
        if self._count > 2 * len(self._numbers) + _STALE:
            self._tidy()
        if self._count >= _MAX_MESSAGES:
            return False
        self._last += 1
        try:
            self._send(_Message(kind, self._last, key, content).encode(), descriptors)
        except OSError:
            return False
        return True

    def _tidy(self) -> None:
        """Leave under way only what counts."""

        def look(message: _Message, _descriptors: list[int]) -> bool:
            return message.kind == _PUT and self._numbers.get(message.key) == message.number

        self._send_round(look)

    def _recover(self) -> None:
        """Read what a former CODI has sent, and leave it under way."""
        newest: dict[str, int] = {}

        def look(message: _Message, descriptors: list[int]) -> bool:
            self._last = max(self._last, message.number)
            if message.kind == _MARK or message.number <= newest.get(message.key, 0):
                return False
            newest[message.key] = message.number
            former = self.left.pop(message.key, None)
            _close(former.descriptors if former else ())
            if message.kind == _PUT:
                self.left[message.key] = Item(message.content, [os.dup(d) for d in descriptors])
            return True

        self._send_round(look)
        self._numbers = {key: newest[key] for key in self.left}

    def _send_round(self, look: Callable[[_Message, list[int]], bool]) -> None:
        """Show every message to ``look``, which says whether it stays under way."""
        mark = _Message(_MARK, self._last, "", os.urandom(8)).encode()
        with contextlib.suppress(OSError):
            self._send(mark, ())
            while (found := self._peek()) is not None:
                data, descriptors = found
                try:
                    if data != mark and look(_Message.parse(data), descriptors):
                        self._send(data, descriptors)
                finally:
                    _close(descriptors)
                self._take()
                if data == mark:
                    return

    def _send(self, message: bytes, descriptors: Sequence[int]) -> None:
        assert self._ends is not None
        socket.send_fds(self._ends[0], [message], descriptors)
        self._count += 1

    def _take(self) -> None:
        assert self._ends is not None
        self._ends[1].recv(1)  # without its descriptors: they were looked at before
        self._count -= 1

    def _peek(self) -> tuple[bytes, list[int]] | None:
        assert self._ends is not None
        room = socket.CMSG_SPACE(4 * _MAX_DESCRIPTORS)
        flags = socket.MSG_PEEK | socket.MSG_CMSG_CLOEXEC
        try:
            data, ancillary, _, _ = self._ends[1].recvmsg(MAX_MESSAGE, room, flags)
        except BlockingIOError:
            return None
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(content[: len(content) // 4 * 4])
        return data, list(descriptors)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
