"""Programs that use the two clients, for the type checker alone: what it knows, and what it refuses.

`make check` reads this; nothing runs it. An error that is ignored here and is none any more is one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, assert_type

from coditect import (
    AsyncClient,
    AsyncProgram,
    AsyncTerminal,
    Client,
    ExecResult,
    Login,
    Program,
    Receipt,
    RunResult,
    Terminal,
    User,
)


def blocking(client: Client) -> None:
    """Use the client that blocks."""
    assert_type(client.login("me@example.com", password="secret"), Login)
    assert_type(client.exec("s-1", ["ls"], timeout_seconds=1), ExecResult)
    assert_type(client.users(), Iterator[User])
    assert_type(client.events("s-1"), Iterator[dict[str, Any]])
    assert_type(client.set_quotas("u-1", files=10, sessions=None), User)
    with Path("x").open("rb") as file:
        assert_type(client.write_file("s-1", "x", file, if_match="*"), Receipt)
    client.write_file("s-1", "x", iter([b"a", b"b"]))
    with client.terminal("s-1", emulator=True, give_up_seconds=5) as terminal:
        assert_type(terminal, Terminal)
        assert_type(terminal.run("ls", timeout_seconds=1), RunResult)
        assert_type(terminal.read_until(b"$ "), bytes)
        terminal.send(1)  # type: ignore[arg-type]
    with client.program("s-1", ["cat"], tty=(80, 24)) as program:
        assert_type(program, Program)
    client.login("me@example.com")  # type: ignore[call-arg]
    client.login("me@example.com", pasword="secret")  # type: ignore[call-arg]
    client.audit(10, "b")  # type: ignore[call-arg]
    client.exec("s-1", [1])  # type: ignore[list-item]
    client.no_such_call()  # type: ignore[attr-defined]


async def asynchronous(client: AsyncClient) -> None:
    """Use the asynchronous client."""
    assert_type(await client.login("me@example.com", password="secret"), Login)
    assert_type(await client.exec("s-1", ["ls"], timeout_seconds=1), ExecResult)
    assert_type(client.users(), AsyncIterator[User])
    assert_type(await client.write_file("s-1", "x", client.stream_file("s-1", "y")), Receipt)
    async with await client.terminal("s-1", emulator=True, give_up_seconds=5) as terminal:
        assert_type(terminal, AsyncTerminal)
        assert_type(await terminal.run("ls", timeout_seconds=1), RunResult)
    async with await client.program("s-1", ["cat"]) as program:
        assert_type(program, AsyncProgram)
    await client.login("me@example.com")  # type: ignore[call-arg]
    await client.no_such_call()  # type: ignore[attr-defined]
