"""The SSH server of a node: listens for people, and for the replicas that carry their bytes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from pathlib import Path
from typing import cast

import asyncssh
import structlog

from actors.core.errors.base import Unavailable
from cluster.settings import Settings
from serve_app.ingress import Ingress
from serve_app.ssh import host_keys, places, rules
from serve_app.ssh.connection import Connection
from serve_app.ssh.door import Door
from serve_app.ssh.handover import Entry, split
from serve_app.ssh.seats import Seats

logger = structlog.get_logger(__name__)

LOGIN_SECONDS = 30.0
KEEPALIVE_SECONDS = 30.0
KEEPALIVES_MISSED = 4
REKEY_BYTES = 1 << 30
REKEY_SECONDS = 3600.0
HANDOVER_SECONDS = 5.0
_BACKLOG = 512
_CLOSE_SECONDS = 2.0
_PORT_PATIENCE = 3.0
_PORT_PAUSE = 0.05
# Clients know by it that links are made as OpenSSH has it, the target first.
_VERSION = "OpenSSH_9.6 coditect"


class SshGateway:
    """Lets SSH clients into sessions. Belongs to one event loop; ``start`` it, then ``run``."""

    def __init__(self, ingress: Ingress, socket_path: Path) -> None:
        self._ingress = ingress
        self._settings: Settings = ingress.deps.settings
        self._socket_path = socket_path
        self._seats = Seats(self._settings.ssh_connections, self._settings.ssh_connections_total)
        self._options: asyncssh.SSHServerConnectionOptions | None = None
        self._doors: set[Door] = set()
        self._servers: list[asyncio.Server] = []
        self._accepted = 0

    async def start(self) -> None:
        """Begin to listen. Raises Unavailable when the port is taken, or the store does not answer."""
        key = asyncssh.import_private_key(await host_keys.load(self._ingress.deps.keys))
        self._options = await options(key)
        await self._listen_for_replicas()
        place = await self._listen()
        await asyncio.to_thread(places.write, self._settings, place)
        logger.info("SSH is spoken", host=place.host, port=place.port)

    async def run(self) -> None:
        """Serve until cancelled."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Take nobody in any more, and say goodbye to everybody."""
        for server in self._servers:
            server.close()
        doors = tuple(self._doors)
        for door in doors:
            door.close("the server goes away: connect again")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.gather(*(door.wait_closed() for door in doors))

    def stats(self) -> dict[str, float]:
        """Return counters and gauges."""
        return {
            "connections": self._seats.users.total(),
            "strangers": self._seats.strangers.total(),
            "accepted_total": self._accepted,
        }

    def connection(self, entry: Entry | None = None) -> Connection:
        """Return the protocol of a new connection; ``entry``: who it is, if a replica has said so."""
        assert self._options is not None
        self._accepted += 1

        def door() -> Door:
            made = Door(self._ingress, self._seats, entry, self._doors.discard)
            self._doors.add(made)
            return made

        return Connection(asyncio.get_running_loop(), self._options, door)

    async def _listen(self) -> places.Place:
        """Listen for people at the first port that is free, the one that was had before first of all."""
        host, kept = places.host_of(self._settings), places.read(self._settings.data_dir)
        loop = asyncio.get_running_loop()
        until = loop.time() + _PORT_PATIENCE
        ports = places.candidates(self._settings, kept)
        while True:
            try:
                server = await loop.create_server(
                    self.connection, host or None, ports[0], backlog=_BACKLOG
                )
            except OSError as error:
                if error.errno != errno.EADDRINUSE and len(ports) == 1:
                    raise Unavailable("ssh", f"{host}:{ports[0]}: {error.strerror}") from error
                # Its own from before it was killed is free in a moment.
                if kept is not None and ports[0] == kept.port and loop.time() < until:
                    await asyncio.sleep(_PORT_PAUSE)
                elif len(ports) > 1:
                    ports.pop(0)
                else:
                    raise Unavailable("ssh", f"{host}:{ports[0]}: {error.strerror}") from error
            else:
                self._servers.append(server)
                return places.Place(host, server.sockets[0].getsockname()[1])

    async def _listen_for_replicas(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._socket_path)
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: _Handover(self), str(self._socket_path), backlog=_BACKLOG
        )
        os.chmod(self._socket_path, 0o600)
        self._servers.append(server)


class _Handover(asyncio.Protocol):
    """A connection from a replica, until it has said who its client is."""

    def __init__(self, gateway: SshGateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HANDOVER_SECONDS, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._data += data
        try:
            found = split(self._data)
        except ValueError as error:
            logger.warning("a replica says nonsense", reason=str(error))
            self._transport.abort()
            return
        if found is None:
            return
        entry, rest = found
        self._stop_timer()
        connection = self._gateway.connection(entry)
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        if rest:
            connection.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


async def options(host_key: asyncssh.SSHKey) -> asyncssh.SSHServerConnectionOptions:
    """Return what every connection has in common."""
    made: asyncssh.SSHServerConnectionOptions
    made = await asyncssh.SSHServerConnectionOptions.construct(
        config=None,
        server_host_keys=[host_key],
        server_version=_VERSION,
        kex_algs=rules.KEX,
        encryption_algs=rules.CIPHERS,
        mac_algs=rules.MACS,
        compression_algs=("none",),
        signature_algs=rules.SIGNATURES,
        host_based_auth=False,
        password_auth=False,
        kbdint_auth=False,
        gss_host=None,
        x11_forwarding=False,
        agent_forwarding=False,
        line_editor=False,
        allow_scp=False,
        encoding=None,
        login_timeout=LOGIN_SECONDS,
        keepalive_interval=KEEPALIVE_SECONDS,
        keepalive_count_max=KEEPALIVES_MISSED,
        rekey_bytes=REKEY_BYTES,
        rekey_seconds=REKEY_SECONDS,
    )
    return made
