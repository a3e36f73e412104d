"""The embedded store as another node's StoreActor sees it: the head's, over TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from actors.core.errors.base import Unavailable
from cluster.store.engines.interface import Commit, KeyRange, Pairs, Values
from cluster.store.remote.client import Link, RemoteEngine
from cluster.store.remote.doorway import HANDSHAKE_SECONDS, notice_silence
from cluster.store.remote.server import REFUSED
from cluster.store.remote.wire import GREETING

CONNECT_SECONDS = 5.0


class HeadEngine:
    """Implements ``OpenableEngine`` at the port of a head; belongs to one event loop.

    ``name`` is what the head's certificate is for, and ``greeting`` what it is told first.
    """

    def __init__(
        self,
        address: tuple[str, int],
        context: Callable[[], ssl.SSLContext],
        *,
        name: str,
        greeting: dict[str, Any],
    ) -> None:
        self._remote = _Remote(address, context, name, greeting)

    async def open(self) -> None:
        """See that it is there. Raises Unavailable."""
        await self._remote.greet()

    async def close(self) -> None:
        """End the connection."""
        self._remote.close()

    async def statistics(self) -> dict[str, Any]:
        """Return nothing: the head counts."""
        return {}

    async def get_many(self, keys: Sequence[bytes], read_version: int | None) -> Values:
        """Read some keys at one version."""
        return await self._remote.get_many(keys, read_version)

    async def get_range(
        self, span: KeyRange, read_version: int | None, *, limit: int, reverse: bool
    ) -> Pairs:
        """Read at most ``limit`` pairs of a range."""
        return await self._remote.get_range(span, read_version, limit=limit, reverse=reverse)

    async def commit(self, commit: Commit) -> int:
        """Apply durably and return the commit version."""
        return await self._remote.commit(commit)

    async def watch(self, key: bytes, seen: bytes | None, seconds: float) -> None:
        """Return when a key's value is not ``seen`` any more, or after some seconds."""
        await self._remote.watch(key, seen, seconds)


class _Remote(RemoteEngine):
    def __init__(
        self,
        address: tuple[str, int],
        context: Callable[[], ssl.SSLContext],
        name: str,
        greeting: dict[str, Any],
    ) -> None:
        super().__init__(Path("{}:{}".format(*address)))
        self._address = address
        self._context = context
        self._name = name
        self._greeting = greeting

    async def greet(self) -> None:
        """Connect, if there is no connection."""
        await self._linked()

    async def _connect(self) -> Link:
        link, answer = await greet(
            self._address, self._context(), name=self._name, greeting=self._greeting
        )
        if REFUSED in answer:
            link.abort()
            raise Unavailable("store", f"the head refuses this node: {answer[REFUSED]}")
        return link


async def greet(
    address: tuple[str, int], context: ssl.SSLContext, *, name: str, greeting: dict[str, Any]
) -> tuple[Link, dict[str, Any]]:
    """Connect to a head and greet it; return the connection and its answer. Raises Unavailable."""
    where = "{}:{}".format(*address)
    loop = asyncio.get_running_loop()
    link = Link()
    try:
        async with asyncio.timeout(CONNECT_SECONDS + HANDSHAKE_SECONDS):
            connection = socket.socket()
            try:
                connection.settimeout(0)
                notice_silence(connection)
                await loop.sock_connect(connection, address)
                await loop.create_connection(
                    lambda: link,
                    sock=connection,
                    ssl=context,
                    server_hostname=name,
                    ssl_handshake_timeout=HANDSHAKE_SECONDS,
                )
            except BaseException:
                connection.close()
                raise
            return link, await link.ask(GREETING, (greeting,))
    except ssl.SSLError as error:
        link.abort()
        reason = f"{where} is not the head whose token this is, or does not take it: {error.reason}"
        raise Unavailable("head", reason) from error
    except Unavailable:
        if link.transport is not None:  # that was its answer
            link.abort()
            raise
        # With TLS 1.3 a node that is refused hears of it when it asks.
        raise Unavailable("head", f"{where} ends the connection: is the token its own?") from None
    except (OSError, TimeoutError) as error:
        link.abort()
        reason = f"nobody answers at {where}: {error.__class__.__name__}: {error}".rstrip(": ")
        raise Unavailable("head", reason) from error
    except BaseException:
        link.abort()
        raise
