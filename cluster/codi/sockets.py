"""A WebSocket to CODI, on which a small frame costs little."""

from __future__ import annotations

import asyncio
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.protocol import State

from cluster.container_address import Address
from cluster.http_exchange import tls

CLOSE_SECONDS = 1.0


def secured(to: Address) -> dict[str, Any]:
    """Return what ``connect`` needs for TLS, where the address says so."""
    return {"ssl": tls()} if to.secure else {}


class CodiConnect(connect):
    """The library's opening of a connection; leads nowhere but to the container that was asked.

    A program inside may answer in CODI's place, and has no say in where the secret and the token go.
    """

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Refuse to be redirected."""
        return exc


class CodiSocket(ClientConnection):
    """The library's connection; what may be sent at once is, without a context and a waiter each."""

    def send_now(self, message: bytes | str) -> bool:
        """Send a message unless that would have to wait, or the connection is ending; say whether it was."""
        if self.protocol.state is not State.OPEN or self.paused or self.transport.is_closing():
            return False
        if isinstance(message, str):
            self.protocol.send_text(message.encode())
        else:
            self.protocol.send_binary(message)
        self.transport.write(b"".join(self.protocol.data_to_send()))
        return True

    async def send(self, message: Any, **options: Any) -> None:
        """Send a message. Raises ConnectionClosed."""
        if options or not isinstance(message, bytes | str) or not self.send_now(message):
            await super().send(message, **options)


class ContainerConnection(CodiSocket):
    """The socket of a terminal or a program, which closes within seconds even while CODI holds it back."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, and break it off when the other side does not take part."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await super().close(code, reason)
        except TimeoutError:
            self.transport.abort()
