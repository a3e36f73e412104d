"""ASGI without a server: a scope, a client that sends its messages, and what an application sends back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message, Scope


def http_scope(path: str = "/api/x", method: str = "GET", **headers: str) -> dict[str, Any]:
    """Return the scope of a request; underscores in the names of headers become hyphens."""
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": pairs, "state": {}}


async def asked(app: ASGIApp, scope: Scope, messages: Iterable[Message] = ()) -> list[Message]:
    """Return what an application answers to a client that sends the messages and then disconnects."""
    waiting, sent = list(messages), []

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def header(answer: list[Message], name: str) -> str | None:
    """Return a header of an answer, None if it has none of that name."""
    return next((v.decode() for n, v in answer[0]["headers"] if n == name.encode()), None)
