"""The startup probe of a container."""

from __future__ import annotations

import asyncio
from typing import Any

from actors.core.ports.clock import Clock
from cluster.dev.cloud_run.programs.interface import StartFailed
from cluster.http_exchange import exchange

_LONGEST_START_SECONDS = 240.0
_LARGEST_ANSWER = 1 << 20


async def until_started(probe: Any, address: str, port: int, clock: Clock) -> None:
    """Return when the startup probe of a container that listens on ``port`` inside has succeeded.

    Raises StartFailed after as many failures as the probe allows, four minutes at most.
    """
    try:
        async with asyncio.timeout(_LONGEST_START_SECONDS):
            await clock.sleep(probe.initial_delay_seconds)
            for _ in range(probe.failure_threshold):
                due = clock.monotonic() + probe.period_seconds
                if await _succeeds(probe, address):
                    return
                await clock.sleep(max(due - clock.monotonic(), 0))
    except TimeoutError:
        pass
    raise StartFailed(
        "The user-provided container failed to start and listen on the port defined provided by the"
        f" PORT={port} environment variable within the allocated timeout."
    )


async def _succeeds(probe: Any, address: str) -> bool:
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            if probe.WhichOneof("probe_type") == "tcp_socket":
                host, _, port = address.rpartition(":")
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return True
            headers = [(each.name, each.value) for each in probe.http_get.http_headers]
            path = probe.http_get.path or "/"
            status, _ = await exchange(address, "GET", path, headers, largest=_LARGEST_ANSWER)
            return 200 <= status < 400
    except (OSError, TimeoutError, ValueError):
        return False
