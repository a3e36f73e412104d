"""Waiting for the warm pool to be full, by the operators' overview."""

from __future__ import annotations

import asyncio
import time

from coditect import AsyncClient
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess


async def wait_for_pool(
    server: ServerProcess, slots: int, timeout_seconds: float = 180.0, *, actors: int | None = None
) -> None:
    """Return when that many warm containers are ready, and as many warm actors if not ``actors``."""
    fewest = slots if actors is None else actors
    deadline = time.monotonic() + timeout_seconds
    async with AsyncClient(server.url, timeout_seconds=60) as admin:
        await admin.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        while True:
            [ready] = (await admin.overview())["pools"].values()
            if ready["warm_actors_ready"] >= fewest and ready["warm_containers_ready"] >= slots:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the pool has {ready}, not {slots} slots")
            await asyncio.sleep(0.2)
