"""One client's connection: asyncssh's, and the bounds that it leaves to its user.

* What the client does not read is not produced: while the socket is full nothing is read from the client
  either, so that answers cannot pile up, and whoever writes waits for ``room``.
* Attempts to sign in are counted, whatever was tried, and the variables that a channel sets are few.
* Nothing is read from configuration files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncssh
from asyncssh.packet import SSHPacket

from serve_app.ssh.rules import MAX_VARIABLE, MAX_VARIABLES

MAX_FAILURES = 20
"""Attempts of one connection: an agent may offer many keys."""

WINDOW = 1 << 20
MAX_PACKET = 32 << 10


class Connection(asyncssh.SSHServerConnection):
    """A connection of the gateway."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: asyncssh.SSHServerConnectionOptions,
        door: Callable[[], asyncssh.SSHServer],
    ) -> None:
        """``door`` makes what decides about this client; ``options`` are every connection's."""
        super().__init__(loop, options)
        self._protocol_factory = door
        self.room = asyncio.Event()
        self.room.set()
        self._failures = 0

    @property
    def failures(self) -> int:
        """How many attempts to sign in have failed."""
        return self._failures

    def pause_writing(self) -> None:
        """Read no more either, until the client has read."""
        self.room.clear()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self.room.set()
        if self._transport is not None:
            self._transport.resume_reading()

    async def reload_config(self) -> None:
        """Keep the options: there are no files to look at again."""

    def send_userauth_failure(self, partial_success: bool) -> None:
        """Refuse an attempt, and the connection after too many."""
        self._failures += 1
        if self._failures > MAX_FAILURES:
            self.disconnect(
                asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many attempts to sign in"
            )
            return
        super().send_userauth_failure(partial_success)

    def disconnect(self, code: int, reason: str, lang: str = "en-US") -> None:
        """End the connection and say why.

        The library closes the channels first: a client whose last one is closed leaves, and may not hear it.
        """
        self._send_disconnect(code, reason, lang)
        self._force_close(None)

    def new_channel(self) -> asyncssh.SSHServerChannel[bytes]:
        """Return a channel for a program, of bytes."""
        return _Channel(
            self,
            self._loop,
            allow_pty=True,
            line_editor=False,
            line_echo=False,
            line_history=0,
            max_line_length=0,
            encoding=None,
            errors="strict",
            window=WINDOW,
            max_pktsize=MAX_PACKET,
        )

    def new_tunnel(self) -> asyncssh.SSHTCPChannel[bytes]:
        """Return a channel for a connection to a port."""
        return self.create_tcp_channel(None, "strict", WINDOW, MAX_PACKET)

    def new_socket_tunnel(self) -> asyncssh.SSHUNIXChannel[bytes]:
        """Return a channel for a connection to a Unix socket."""
        return self.create_unix_channel(None, "strict", WINDOW, MAX_PACKET)

    async def create_agent_listener(self) -> bool:
        """Have the client's agent reached from inside: the library's would listen beside us, outside."""
        owner: Any = self._owner
        return bool(await owner.agent_requested())

    async def reach_agent(self, session: Any) -> None:
        """Open a channel to the client's agent. Raises ChannelOpenError."""
        channel = self.create_agent_channel(WINDOW, MAX_PACKET)
        await channel.open(lambda: session)


class _Channel(asyncssh.SSHServerChannel[bytes]):
    def _process_env_request(self, packet: SSHPacket) -> bool:
        if len(self._env) >= MAX_VARIABLES or len(packet.get_remaining_payload()) > MAX_VARIABLE:
            return False
        return super()._process_env_request(packet)
