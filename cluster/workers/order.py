"""What a launcher asks for: the worker that it would have been."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

ORDER_SECONDS = 2.0
MAX_ORDER_BYTES = 1 << 20
STREAMS = 3
# Ray, Python, the loader and the allocator read theirs once, and the parent has read its own.
READ_ONCE = ("RAY_", "PYTHON", "LD_", "MALLOC_")


@dataclass(frozen=True, slots=True)
class Order:
    """Directory, arguments, environment and standard streams of a worker."""

    directory: str
    arguments: Sequence[str]
    environment: dict[str, str]
    streams: Sequence[int]

    @classmethod
    def receive(cls, connection: socket.socket) -> Self:
        """Read one from a process of this user. Raises OSError and ValueError, and leaves no stream open."""
        connection.settimeout(ORDER_SECONDS)
        _check_user(connection)
        data, streams, _, _ = socket.recv_fds(connection, MAX_ORDER_BYTES, STREAMS)
        try:
            while len(data) < MAX_ORDER_BYTES and (more := connection.recv(MAX_ORDER_BYTES)):
                data += more
            return cls.parse(data, streams)
        except BaseException:
            _close(streams)
            raise

    @classmethod
    def parse(cls, data: bytes, streams: Sequence[int]) -> Self:
        """Read what ``launcher.request`` wrote. Raises ValueError."""
        directory, count, *words = os.fsdecode(data).split("\0")
        variables = [word.partition("=") for word in words[int(count) :]]
        if len(streams) != STREAMS or len(words) < int(count):
            raise ValueError("half an order")
        environment = {name: value for name, _, value in variables}
        return cls(directory, words[: int(count)], environment, streams)

    def check(self, environment: Mapping[str, str]) -> None:
        """Raise ValueError if a variable that is read once is not as in ``environment``."""
        names = {name for name, _ in self.environment.items() ^ environment.items()}
        if differing := sorted(name for name in names if name.startswith(READ_ONCE)):
            raise ValueError(f"{', '.join(differing)} differ")

    def close(self) -> None:
        """Close the streams, which the fork has."""
        _close(self.streams)

    def take_place(self) -> None:
        """Make this process the worker: its group, streams, environment and directory."""
        os.setpgid(0, 0)  # the raylet kills the group of a worker that has died
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
        self.close()
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.directory)


def _check_user(connection: socket.socket) -> None:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, user, _ = struct.unpack("3i", credentials)
    if user != os.geteuid():
        raise ValueError(f"user {user} may have nothing forked")


def _close(streams: Sequence[int]) -> None:
    for stream in streams:
        os.close(stream)
