"""Jupyter's terminals, which keep nothing, beside ours: where ``JUPYTER_SERVER`` names the program."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.support.server_process import free_port

PROGRAM = os.environ.get("JUPYTER_SERVER", "")


class JupyterTerminal:
    """A terminal as ``AsyncTerminal`` is used here."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, data: bytes | str) -> None:
        """Type."""
        text = data if isinstance(data, str) else data.decode()
        await self._socket.send(json.dumps(["stdin", text]))

    async def read(self, timeout_seconds: float = 30.0) -> bytes:
        """Return the next output."""
        async with asyncio.timeout(timeout_seconds):
            while True:
                kind, *rest = json.loads(await self._socket.recv())
                if kind == "stdout":
                    return str(rest[0]).encode()


@asynccontextmanager
async def jupyter_terminal() -> AsyncIterator[JupyterTerminal]:
    """Start a server with one terminal, and end it."""
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as directory:
        server = await asyncio.create_subprocess_exec(
            PROGRAM, "--allow-root", "--no-browser", f"--port={address.rpartition(':')[2]}",
            "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True",
            f"--ServerApp.root_dir={directory}",
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            name = await _new_terminal(address)
            url = f"ws://{address}/terminals/websocket/{name}"
            async with connect(url, max_size=None, proxy=None, compression=None) as socket:
                yield JupyterTerminal(socket)
        finally:
            server.terminate()
            await server.wait()


async def _new_terminal(address: str) -> str:
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=0)) as http:
        for _ in range(300):
            try:
                answer = await http.post(f"http://{address}/api/terminals")
            except httpx.TransportError:
                await asyncio.sleep(0.1)
            else:
                return str(answer.raise_for_status().json()["name"])
    raise TimeoutError("Jupyter does not start")
