"""Probes FoundationDB: is its client library there, and does the cluster answer.

Looked at in a process of its own: the client keeps its network thread for the life of a process,
and whoever starts a server must not have one.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.connection import Connection

from actors.core.errors.base import CoditectError
from cluster.settings import Settings
from cluster.store.factory import make_engine

LIMIT_SECONDS = 20.0


def failure(settings: Settings, limit_seconds: float = LIMIT_SECONDS) -> str | None:
    """Return why the store that the settings name cannot be used, or None."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_look, args=(settings, sending), daemon=True)
    child.start()
    sending.close()
    try:
        if not receiving.poll(limit_seconds):
            return f"no answer within {limit_seconds:g} s"
        said: str | None = receiving.recv()
    except EOFError:
        return "the client library ended its process"
    finally:
        child.kill()
        child.join()
        receiving.close()
    return said


def _look(settings: Settings, sending: Connection) -> None:
    async def look() -> None:
        engine = make_engine(settings)
        await engine.open()
        await engine.close()

    try:
        asyncio.run(look())
    except CoditectError as error:
        sending.send(str(error))
    else:
        sending.send(None)
