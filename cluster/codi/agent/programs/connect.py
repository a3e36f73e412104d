"""Connects to a Unix socket inside for somebody outside: ``codi:connect PATH``. Ends with the connection.

It prints a line of JSON, ``{"door", "connection"}``: how the connection is fetched (``listen``).
"""

from __future__ import annotations

import asyncio
import sys

from cluster.codi.agent.programs.listen import CHUNK, Listener, open_door


async def _connect(path: str) -> None:
    try:
        made = await asyncio.open_unix_connection(path, limit=CHUNK)
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}")
    listener = Listener()
    await listener.offer(made, door=await open_door(listener))


def main() -> None:
    """Connect to the path that the first argument says."""
    asyncio.run(_connect(sys.argv[1]))
