"""The server's side of CODI's feed: what changed in a workspace, its contents, and putting it back."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from actors.core.errors.base import Unavailable
from actors.core.records.sessions import Route
from cluster.codi.answers import COMPONENT, Asked, error_from
from cluster.codi.client import HttpCodiClient, translated

_LENGTH_BYTES = 4
_WAIT_MARGIN_SECONDS = 15.0
_CHUNKING_SECONDS = 300.0
_MAX_HEADER = 64 << 10
_JOINED_BYTES = 256 << 10
_GROUP_BYTES = 1 << 20
Item = list[Any]


class FeedClient(HttpCodiClient):
    """Adds the calls of ``docs/design/codi.md``, "Feed". Paths are texts with surrogate escapes."""

    async def changes(
        self, route: Route, follower: str, after: int, wait_seconds: float
    ) -> dict[str, Any]:
        """Acknowledge what was reported up to ``after`` and wait for more; -1 begins to follow."""
        target = f"/changes?follower={follower}&after={after}&wait={wait_seconds:g}"
        limit = wait_seconds + _WAIT_MARGIN_SECONDS
        answer: dict[str, Any] = await self._json(
            Asked(route, "workspace"), "GET", target, limit=limit
        )
        return answer

    async def look(self, route: Route, paths: Sequence[str]) -> list[Item]:
        """Return how paths are."""
        answer = await self._json(
            Asked(route, "workspace"), "POST", "/look", {"paths": list(paths)}
        )
        items: list[Item] = answer["items"]
        return items

    async def listings(
        self, route: Route, paths: Sequence[str], after: str | None = None
    ) -> list[tuple[str, list[Item] | bool | None, str | None]]:
        """Return what lies in directories; maybe of the first ones only, and of the last one a page.

        ``after``: in the first one, behind this name. The last part is the name to go on behind, if any.
        """
        body = {"paths": list(paths), "after": after}
        answer = await self._json(Asked(route, "workspace"), "POST", "/listings", body)
        return [(path, found, last) for path, found, last in answer["listings"]]

    async def cut(
        self, route: Route, path: str, offset: int, limit: int, beginning: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Return the chunks of a piece of a large file; ``beginning``: the answer for its beginning."""
        body: dict[str, Any] = {"path": path, "offset": offset, "limit": limit}
        if beginning is not None:
            body |= {"holes": beginning["holes"], "factor": beginning["factor"]}
        answer: dict[str, Any] = await self._json(
            Asked(route, "workspace"), "POST", "/cut", body, limit=_CHUNKING_SECONDS
        )
        return answer

    async def contents(
        self, route: Route, paths: Sequence[str]
    ) -> AsyncGenerator[tuple[dict[str, Any], bytes], None]:
        """Yield a header, and the bytes of a small file, for each path in turn. Close it."""
        for group in _groups(paths):
            reader = _Reader(self._stream(route, "/contents", {"paths": group}))
            while (start := await reader.take(_LENGTH_BYTES, optional=True)) is not None:
                length = int.from_bytes(start, "big")
                if length > _MAX_HEADER:
                    raise Unavailable(COMPONENT, "its answer is no series of records")
                header = json.loads(await reader.take(length) or b"{}")
                yield header, await reader.take(int(header["bytes"])) or b""

    async def blocks(
        self, route: Route, path: str, spans: Sequence[tuple[int, int]]
    ) -> AsyncIterator[bytes]:
        """Yield parts of a file, each by offset and size."""
        body = {"path": path, "blocks": [list(span) for span in spans]}
        reader = _Reader(self._stream(route, "/blocks", body))
        for _, size in spans:
            yield await reader.take(size) or b""

    async def restore(self, route: Route, records: AsyncIterator[bytes]) -> dict[str, Any]:
        """Put things back; ``records`` are made by ``record``."""
        response = await self._send(
            Asked(route, "workspace"),
            "POST",
            "/restore",
            content=_joined(records),
            read=_CHUNKING_SECONDS,
        )
        answer: dict[str, Any] = response.json()
        return answer

    async def _stream(self, route: Route, target: str, body: Any) -> AsyncIterator[bytes]:
        asked = Asked(route, "workspace")
        request = await self._request(route, "POST", target, json=body, read=_CHUNKING_SECONDS)
        with translated(asked):
            response = await self._client(route).send(request, stream=True)
        try:
            with translated(asked):
                if not response.is_success:
                    raise error_from(response.status_code, await response.aread(), asked)
                async for part in response.aiter_raw():
                    yield part
        finally:
            await response.aclose()


def _groups(paths: Sequence[str]) -> Iterator[list[str]]:
    """Part paths into what one request takes: deep ones are long."""
    group: list[str] = []
    size = 0
    for path in paths:
        length = len(json.dumps(path)) + 1
        if group and size + length > _GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(path)
        size += length
    yield group


def record(header: dict[str, Any]) -> bytes:
    """Return the start of a record; as many bytes as its ``bytes`` says follow."""
    encoded = json.dumps(header, separators=(",", ":")).encode()
    return len(encoded).to_bytes(_LENGTH_BYTES, "big") + encoded


async def _joined(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join small parts of a body: each that is sent costs as much as some kilobytes do."""
    waiting: list[bytes] = []
    size = 0
    async for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= _JOINED_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


class _Reader:
    """Takes given numbers of bytes out of a stream."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def take(self, size: int, *, optional: bool = False) -> bytes | None:
        """Return that many bytes; None at the end of the stream when ``optional``."""
        while len(self._buffer) < size:
            part = await anext(self._stream, None)
            if part is None:
                if optional and not self._buffer:
                    return None
                raise Unavailable(COMPONENT, "its answer ended early")
            self._buffer += part
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken
