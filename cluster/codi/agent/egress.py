"""Opens the proxy's port in the container, and lets the gateway outside accept from it.

CODI moves no byte: it hands the listening socket over and stays connected, to notice when there is another
gateway. Connections wait in the socket meanwhile. The socket is kept for the next CODI, too.
"""

from __future__ import annotations

import asyncio
import socket

from cluster.codi.agent.fdstore import Store

_KEY = "egress"
_BACKLOG = 512
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


def open_port(port: int, store: Store) -> socket.socket | None:
    """Listen at the loopback, or go on listening; None: somebody else does."""
    left = store.left.get(_KEY)
    if left is not None and left.descriptors:
        return socket.socket(fileno=left.descriptors[0])
    try:
        listener = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
    except OSError:
        return None
    store.put(_KEY, b"", [listener.fileno()])
    return listener


async def lend(listener: socket.socket, gateway: str) -> None:
    """Hand the socket to whoever is the gateway, until cancelled."""
    loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.setblocking(False)  # noqa: FBT003 - its name says it
            try:
                line.connect(gateway)
                socket.send_fds(line, [b"listener"], [listener.fileno()])
                while await loop.sock_recv(line, 64):
                    pause = _FIRST_PAUSE
            except OSError:
                pass
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
