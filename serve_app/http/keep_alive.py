"""WebSockets that are asked whether they are there, unless they cannot answer.

uvicorn closes one that leaves a ping unanswered, as a browser does whose machine sleeps. But the answer
waits behind what nobody reads: while our application takes nothing in, since a program holds it up, or
while the client reads nothing. Neither is a fault, and TCP finds out who is gone.
"""

from __future__ import annotations

from uvicorn.protocols.websockets import auto
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HOLDS_BACK = "holds_back"
"""Set in the ``state`` of a socket whose client may read nothing for as long as it likes."""


class PatientSocket(WebSocketsSansIOProtocol):
    """A socket that is not closed for an answer that cannot come."""

    def keepalive_timeout(self) -> None:
        """Close the socket, or ask again later."""
        held = self.read_paused or not self.writable.is_set()
        if not (held or self.scope["state"].get(HOLDS_BACK)) or self.transport.is_closing():
            super().keepalive_timeout()
            return
        self.pong_timer = self.pending_ping_payload = None
        self.schedule_ping()


def install() -> None:
    """Have servers that begin in this process use it: Ray Serve lets nobody choose."""
    auto.AutoWebSocketsProtocol = PatientSocket
