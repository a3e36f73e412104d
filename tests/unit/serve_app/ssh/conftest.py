"""The gateway on a server in this process, and clients of asyncssh's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import asyncssh
import pytest

from coditect import AsyncClient
from serve_app.ssh import gateway as gateways
from serve_app.ssh import places
from serve_app.ssh.gateway import SshGateway
from tests.fakes.ingress_fakes import NODE, Rig

KEY = asyncssh.generate_private_key("ssh-ed25519", comment="ada@laptop")


async def raised(client: asyncssh.SSHClientConnection) -> None:
    """Wait for the end of a connection, and raise what has ended it."""
    error = await asyncio.wait_for(client.get_extra_info("ended"), 60)
    if error is not None:
        raise error


@dataclass(slots=True)
class Spoken:
    """A gateway that listens, and how it is reached."""

    gateway: SshGateway
    rig: Rig
    port: int

    @contextlib.asynccontextmanager
    async def connect(
        self, user: str, key: Any = KEY, **options: Any
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        keys = key if isinstance(key, list) else [key]
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        class Client(asyncssh.SSHClient):
            def connection_lost(self, exc: Exception | None) -> None:
                if not ended.done():
                    ended.set_result(exc)

        made = await asyncssh.connect(
            "127.0.0.1",
            self.port,
            username=user,
            client_factory=Client,
            **{"client_keys": keys, "known_hosts": None, "config": None, "agent_path": None}
            | options,
        )
        made.set_extra_info(ended=ended)
        async with made:
            yield made


@pytest.fixture
async def spoken(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Spoken]:
    monkeypatch.setattr(places, "candidates", lambda _settings, _kept: [0])
    monkeypatch.setattr(gateways, "_CLOSE_SECONDS", 0.5)
    socket_path = places.gateway_socket(rig.deps.settings, NODE)
    socket_path.parent.mkdir(exist_ok=True)
    gateway = SshGateway(rig.app.state.ingress, socket_path)
    await gateway.start()
    place = places.read(rig.deps.settings.data_dir)
    assert place is not None
    try:
        yield Spoken(gateway, rig, place.port)
    finally:
        await gateway.close()


@pytest.fixture
async def known(ada: AsyncClient) -> str:
    """Ada's key, added to her account; its id."""
    return (await ada.add_ssh_key(KEY.export_public_key().decode())).key_id


@pytest.fixture
def connect(spoken: Spoken, known: str, session_id: str) -> Callable[..., Any]:
    """Return what connects to Ada's session."""
    return lambda **options: spoken.connect(session_id, **options)
