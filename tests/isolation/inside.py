"""Containers with a stand-in for CODI that runs what a test sends it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from dataclasses import dataclass

from actors.core.records.containers import ContainerHandle, ContainerSpec


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: str
    stderr: str


async def run(handle: ContainerHandle, script: str) -> Result:
    """Run a shell script in a container."""

    def ask():
        request = urllib.request.Request(f"http://{handle.address}/run", data=script.encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Result(**json.load(answer))

    return await asyncio.to_thread(ask)


def spec(name="one", **changes) -> ContainerSpec:
    fields = {
        "container_id": f"c-{name}",
        "tenant_id": "t",
        "workspace_id": f"w-{name}",
        "secret": "secret",
        "memory_bytes": 256 << 20,
        "pids": 64,
    }
    return ContainerSpec(**(fields | changes))
