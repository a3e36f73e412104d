"""The start and the end of CODI."""

from __future__ import annotations

import os
import sys

# OpenSSL would be a third of the time that asyncio takes to import, for a server without TLS; what
# hashlib has without it is what is used here.
for openssl in ("ssl", "_hashlib"):
    sys.modules.setdefault(openssl, None)  # type: ignore[arg-type]

import asyncio  # noqa: E402
import fcntl  # noqa: E402
import gc  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402

from cluster.codi.agent import config as configuration  # noqa: E402
from cluster.codi.agent import kernel  # noqa: E402
from cluster.codi.agent.fdstore import Store  # noqa: E402
from cluster.codi.agent.server import Server  # noqa: E402

_END_SECONDS = 1.5


def main() -> None:
    """Run until SIGTERM or SIGINT, from outside of the container where there is an outside."""
    config, store = configuration.read(sys.argv[1:], os.environ)
    for name in ("CODI_CONFIG", "PORT"):
        os.environ.pop(name, None)
    kernel.rename("codi")
    gc.freeze()  # what was imported stays
    gc.enable()  # see ``image/start.py``
    asyncio.run(_run(config, store))


async def _run(config: configuration.Config, store: Store) -> None:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = kernel.Signals(signal.SIGTERM, signal.SIGINT)

    def signalled() -> None:
        # Whoever is inside has ended a program of their own, and named this one by mistake.
        if signals.sender() == 0 or not store.lasts:
            ending.set()

    loop.add_reader(signals.descriptor, signalled)
    server = Server(config, store)
    await server.start(_listener(config))
    await ending.wait()
    await server.close(_END_SECONDS)


def _listener(config: configuration.Config) -> socket.socket:
    if config.listen_fd < 0:
        return socket.create_server(("", config.port), backlog=512)
    listener = socket.socket(fileno=config.listen_fd)
    fcntl.fcntl(listener, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    return listener
