"""What a conversation with the proxy needs of the gateway, whatever language it is held in."""

from __future__ import annotations

import socket
import ssl
from typing import Protocol

from cluster.egress.binding import Bound
from cluster.egress.wire import Wire

HEADER_SECONDS = 30.0


class Refusal(Exception):
    """A host is not to be reached: by which rule, and why in words. ``limit``: not now."""

    def __init__(self, rule: str, reason: str, *, limit: bool = False) -> None:
        super().__init__(rule, reason)
        self.rule = rule
        self.reason = reason
        self.limit = limit


class Unreached(Exception):
    """A host may be reached, and cannot be; in words."""


class Visit(Protocol):
    """One connection from inside, for its owner's conversation."""

    inside: Wire

    @property
    def place(self) -> tuple[str, int]:
        """The host, as ``policy.normal`` writes it, and the port that were dialled last."""
        ...

    @property
    def upstream(self) -> ssl.SSLContext:
        """How hosts are checked."""
        ...

    def context(self, host: str) -> ssl.SSLContext:
        """Return how to be a host to the container's programs. Raises Unreached."""
        ...

    async def bound(self) -> Bound | None:
        """Return which secrets requests to what was dialled last get. Raises Unreached."""
        ...

    async def headers(self, bound: Bound) -> list[tuple[bytes, bytes]]:
        """Return the headers of these secrets. Raises Refusal, Unreached."""
        ...

    def note_added(self, bound: Bound) -> None:
        """Note that a request gets these secrets."""

    async def dial(self, host: str, port: int) -> socket.socket:
        """Connect to a host, for the visit's own use. Raises Refusal, Unreached."""
        ...

    async def tunnel(self, outside: socket.socket, early: bytes) -> None:
        """Move bytes until both sides have ended; ``early`` came from inside before."""

    def outside_wire(self, outside: socket.socket) -> Wire:
        """Return the other side of a conversation that is not just moved. It raises Refusal, too."""
        ...
