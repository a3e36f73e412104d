"""Users for the benchmarks: accounts made by the administrator, and what each of them does."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager

from coditect import AsyncClient, AsyncTerminal, Login
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess

PASSWORD = "benchmark-password"


async def make_users(server: ServerProcess, prefix: str, count: int) -> list[str]:
    """Create accounts; return their addresses."""
    emails = [f"{prefix}{number}@example.com" for number in range(count)]
    async with AsyncClient(server.url, timeout_seconds=120) as admin:
        await admin.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        for email in emails:
            await admin.create_user(email, PASSWORD)
    return emails


async def login_to_first_byte(client: AsyncClient, email: str) -> tuple[float, Login]:
    """Return the time from the login request to the first byte of the shell, and the login."""
    began = time.perf_counter()
    login = await client.login(email, PASSWORD)
    terminal = await client.terminal(login.session_id, "main")
    try:
        await terminal.read(timeout_seconds=60)
        return time.perf_counter() - began, login
    finally:
        await terminal.close()


@asynccontextmanager
async def shell(client: AsyncClient, session_id: str):
    """Attach, and read up to where the shell has answered once."""
    terminal: AsyncTerminal = await client.terminal(session_id, "main")
    try:
        await terminal.send("echo re''ady\r")
        await terminal.read_until(b"ready\r\n", 30)
        yield terminal
    finally:
        await terminal.close()
