"""Calls of SSH: an account's keys, where SSH is spoken, and its bytes over the server's own connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from coditect import addresses
from coditect.connection import Connection, given
from coditect.errors import ConnectionFailed, from_refusal
from coditect.models import SshKey, SshServer

_MAX_FRAME = 1 << 20
_MAX_QUEUE = 16


class SshCalls(Connection):
    """Calls of SSH: keys, where it is spoken, and its bytes over the server's own connection."""

    async def ssh_server(self) -> SshServer:
        """Return where SSH is spoken, and the key by which the server is known."""
        return SshServer.from_json((await self._request("GET", "/api/v1/ssh")).json())

    async def ssh_keys(self) -> list[SshKey]:
        """List one's own public keys, oldest first."""
        body = (await self._request("GET", "/api/v1/ssh-keys")).json()
        return [SshKey.from_json(item) for item in body["keys"]]

    async def add_ssh_key(self, key: str, name: str | None = None) -> SshKey:
        """Add a public key, the line of a ``.pub`` file; ``name``: its comment when left out.

        Raises InvalidRequest for one that is weak or no key, Conflict for one that is there.
        """
        body = given(key=key, name=name)
        return SshKey.from_json((await self._request("POST", "/api/v1/ssh-keys", json=body)).json())

    async def remove_ssh_key(self, key_id: str) -> None:
        """Take a public key away; who signed in by it is thrown out."""
        await self._request("DELETE", f"/api/v1/ssh-keys/{addresses.segment(key_id, 'key_id')}")

    async def ssh_stream(
        self, session_id: str, pieces: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """Speak SSH with a session: send an SSH client's bytes, and yield those for it.

        Who is signed in here is signed in there. Ends when either side does; raises ConnectionFailed when
        the connection breaks.
        """
        url = self._socket_url(addresses.session(session_id, "ssh"))
        try:
            async with connect(
                url,
                additional_headers=self._headers(),
                compression=None,
                max_size=_MAX_FRAME,
                max_queue=_MAX_QUEUE,
            ) as socket:
                sending = asyncio.create_task(_send_all(socket, pieces), name="ssh bytes")
                try:
                    async for message in socket:
                        yield message if isinstance(message, bytes) else message.encode()
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
                if socket.close_code not in {1000, 1001}:
                    raise ConnectionFailed(url, socket.close_reason or "closed")
        except InvalidStatus as refused:
            raise from_refusal(refused) from refused
        except (OSError, TimeoutError, WebSocketException) as error:
            raise ConnectionFailed(url, str(error) or type(error).__name__) from error


async def _send_all(socket: ClientConnection, pieces: AsyncIterator[bytes]) -> None:
    try:
        async for piece in pieces:
            await socket.send(piece)
    except ConnectionClosed:
        return  # the reader notices it
    await socket.close()
