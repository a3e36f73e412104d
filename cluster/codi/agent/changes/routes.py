"""The calls by which the server keeps a copy of the workspace: it pulls, CODI knows nobody to push to.

A stream of *records* is what contents are sent in, both ways: four bytes with the length of a JSON
header (big endian), the header, and as many bytes as its ``bytes`` says.
"""

from __future__ import annotations

import asyncio
import bisect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from cluster.codi.agent.changes.feed import Mark
from cluster.codi.agent.changes.watcher import Watcher
from cluster.codi.agent.config import Config
from cluster.codi.agent.errors import AgentError, invalid
from cluster.codi.agent.exchange import STALL_SECONDS, Exchange
from cluster.codi.agent.files import contents, paths, restoring, temporary
from cluster.codi.agent.files.contents import Span

Run = Callable[..., Awaitable[Any]]

MAX_WAIT_SECONDS = 60.0
MAX_CHANGES = 2000
MAX_PATHS = 5000
INLINE_BYTES = contents.MIN_CHUNK
_LISTED_AT_ONCE = 10_000
_MAX_HEADER = 64 << 10
_MAX_BLOCKS = 8192
_LENGTH_BYTES = 4
_PART_BYTES = 1 << 20
_BATCH_RECORDS = 256
_MAX_CUT = 256 << 20


class FeedRoutes:
    """Handlers: each takes the exchange and the decoded path behind it, which none of them uses."""

    def __init__(self, config: Config, workspace: paths.Workspace, run: Run) -> None:
        self._config = config
        self._workspace = workspace
        self._run = run
        self.watcher = Watcher(
            config.workspace, frozenset(name.encode() for name in config.excludes), run
        )
        self._follower: str | None = None
        self._paged: tuple[bytes, list[bytes]] | None = None

    def close(self) -> None:
        """End watching."""
        self.watcher.close()

    async def changes(self, exchange: Exchange, _rest: bytes) -> None:
        """``GET /changes?follower=&after=&wait=``: what changed, and how it is now."""
        query = dict(parse_qsl(exchange.query))
        follower, after = query.get("follower", ""), query.get("after", "-1")
        seconds = query.get("wait", "0")
        if not 0 < len(follower) <= 128:
            raise invalid("follower: 1 to 128 characters")
        if not (after.lstrip("-").isdecimal() and seconds.replace(".", "", 1).isdecimal()):
            raise invalid("after, wait: numbers")
        is_new = int(after) < 0
        if is_new:
            self._follower = follower
        elif follower != self._follower:
            # Two followers would acknowledge each other's changes.
            raise AgentError(409, "replaced", "another follower has taken over")
        waiting = self.watcher.wait(
            is_new, int(after), min(float(seconds), MAX_WAIT_SECONDS), MAX_CHANGES
        )
        found = await exchange.while_connected(waiting)
        if follower != self._follower:
            raise AgentError(409, "replaced", "another follower has taken over")
        items = await self._run(self._look, found.marks)
        exchange.answer(
            200,
            {
                "incarnation": self._config.incarnation,
                "cursor": found.cursor,
                "trees": [_text(mark.path) for mark in found.marks if mark.tree],
                "items": items,
                "scanning": self.watcher.scanning,
            },
        )

    async def look(self, exchange: Exchange, _rest: bytes) -> None:
        """``POST /look {paths}``: how they are."""
        wanted = await _paths(exchange)
        items = await self._run(self._look, [Mark(path, tree=False) for path in wanted])
        exchange.answer(200, {"items": items})

    async def listings(self, exchange: Exchange, _rest: bytes) -> None:
        """``POST /listings {paths, after}``: what lies in directories, as much of them as fits an answer.

        In the order of the names' bytes; ``after``: in the first one, behind this name. Answers the path,
        the items, and the last name that was looked at if there are more behind it.
        """
        body = await exchange.json()
        wanted, after = _paths_in(body), body.get("after")
        if not isinstance(after, str | None):
            raise invalid("after: a name")
        behind = None if after is None else after.encode("utf-8", "surrogateescape")
        exchange.answer(200, {"listings": await self._run(self._list, wanted, behind)})

    async def contents(self, exchange: Exchange, _rest: bytes) -> None:
        """``POST /contents {paths}``: records with ``item`` and ``bytes``, or ``large``: see ``cut``."""
        wanted = await _paths(exchange)
        exchange.begin(200, [("content-type", "application/octet-stream")], None)
        while wanted:
            done, data = await self._run(self._read_some, wanted)
            exchange.send(data)
            await exchange.link.drain(STALL_SECONDS)
            wanted = wanted[done:]
        exchange.finish()

    async def cut(self, exchange: Exchange, _rest: bytes) -> None:
        """``POST /cut {path, offset, limit, holes, factor}``: the chunks of a piece of a large file.

        ``holes`` and ``factor`` repeat the answer for offset 0, which is asked for without them. Chunks
        come with name, offset and size; ``next`` is where to go on, null at the end.
        """
        body = await exchange.json()
        path, holes = _parsed(body.get("path")), body.get("holes")
        offset, limit = body.get("offset"), body.get("limit")
        factor = body.get("factor")
        if not (_is_size(offset) and _is_size(limit)):
            raise invalid("offset, limit: sizes")
        if holes is not None:
            holes = restoring.spans(holes)
            if factor not in {1, contents.LARGE_FACTOR}:
                raise invalid("factor: as it was returned")
        exchange.answer(200, await self._run(self._cut, path, offset, limit, holes, factor))

    async def blocks(self, exchange: Exchange, _rest: bytes) -> None:
        """``POST /blocks {path, blocks: [[offset, size], …]}``: their bytes, one behind the other."""
        body = await exchange.json()
        wanted = body.get("blocks")
        if not isinstance(wanted, list) or len(wanted) > _MAX_BLOCKS:
            raise invalid(f"blocks: a list of up to {_MAX_BLOCKS}")
        spans = [_span(each) for each in wanted]
        opened = await self._run(contents.Opened, self._workspace, _parsed(body.get("path")))
        try:
            exchange.begin(
                200,
                [("content-type", "application/octet-stream")],
                sum(size for _, size in spans),
            )
            for offset, size in spans:
                data = await self._run(opened.read, offset, size)
                if len(data) < size:
                    raise ConnectionAbortedError("the file became shorter")
                exchange.send(data)
                await exchange.link.drain(STALL_SECONDS)
            exchange.finish()
        finally:
            opened.close()

    async def restore(self, exchange: Exchange, _rest: bytes) -> None:
        """``POST /restore``: records ``{path, kind, mode, mtime_ns, size, target}``; see ``restoring``.

        Kinds are those of items, ``m`` for the mode of a directory that is complete, and ``s`` for
        bringing all to the disk. Answers the items made, and for each path that could not be made
        the reason.
        """
        back = restoring.PutBack(self._workspace)
        stream = _Stream(exchange.body())
        # A batch is made in a thread while the next one comes in: a hop for each file costs more than
        # the file does.
        making = asyncio.ensure_future(_nothing())
        try:
            while (batch := await stream.batch()) is not None:
                await making
                making = asyncio.ensure_future(self._run(back.make, batch))
                if (header := stream.large) is not None:
                    await making
                    await self._restore_large(header, stream, back)
        finally:
            await making
        exchange.answer(200, {"made": back.made, "failed": back.failed})

    async def _restore_large(
        self, header: restoring.Header, stream: _Stream, back: restoring.PutBack
    ) -> None:
        file = await self._run(back.begin, header)
        try:
            while part := await stream.part(_PART_BYTES):
                if file is not None and not await self._run(back.write, file, header, part):
                    file = await self._run(file.discard)
            if file is not None:
                await self._run(back.finish, file, header)
        finally:
            if file is not None:
                await self._run(file.discard)

    def _look(self, marks: list[Mark]) -> list[Any]:
        excluded = self.watcher.is_excluded
        return [
            contents.look(self._workspace, mark.path, excluded)
            for mark in marks
            if mark.path != b"."
        ]

    def _list(self, wanted: list[bytes], after: bytes | None) -> list[Any]:
        listed: list[Any] = []
        left = _LISTED_AT_ONCE
        for path in wanted:
            names = self._names_of(path, after)
            if not isinstance(names, list):
                listed.append([_text(path), names, None])
                left -= 1
                continue
            start = 0 if after is None else bisect.bisect_right(names, after)
            after = None
            some = names[start : start + left]
            more = start + len(some) < len(names)
            kept = [name for name in some if not temporary.is_temporary(name)]
            found = contents.listing(self._workspace, path, kept, self.watcher.is_excluded)
            last = _text(some[-1]) if more and isinstance(found, list) else None
            listed.append([_text(path), found, last])
            # A directory that is asked for page by page is read once.
            self._paged = (path, names) if last is not None else None
            left -= len(some)
            if left <= 0:
                break
        return listed

    def _names_of(self, path: bytes, after: bytes | None) -> list[bytes] | bool | None:
        if after is not None and self._paged is not None and self._paged[0] == path:
            return self._paged[1]
        return contents.names(self._workspace, path)

    def _cut(
        self, path: bytes, offset: int, limit: int, holes: list[Span] | None, factor: int
    ) -> dict[str, Any]:
        opened = contents.Opened(self._workspace, path)
        try:
            if holes is None:
                holes = opened.holes()
                factor = opened.factor(holes)
            limit = min(limit, _MAX_CUT)
            chunks = list(opened.cut(offset, limit, holes, factor))
            done = sum(chunks[-1][1:]) if chunks else opened.size
            following = done if sum(size for _, _, size in chunks) >= limit else None
            return {
                "item": opened.item,
                "holes": holes,
                "factor": factor,
                "chunks": [[name.hex(), at, size] for name, at, size in chunks],
                "next": following,
            }
        finally:
            opened.close()

    def _read_some(self, wanted: Sequence[bytes]) -> tuple[int, bytes]:
        """Read the next paths; return how many, and their records."""
        parts: list[bytes] = []
        done = size = 0
        for path in wanted[:_BATCH_RECORDS]:
            header, data = self._read(path)
            encoded = json.dumps(header | {"bytes": len(data)}, separators=(",", ":")).encode()
            parts += [len(encoded).to_bytes(_LENGTH_BYTES, "big"), encoded, data]
            done, size = done + 1, size + len(data)
            if size >= _PART_BYTES:
                break
        return done, b"".join(parts)

    def _read(self, path: bytes) -> tuple[dict[str, Any], bytes]:
        found = contents.look(self._workspace, path, self.watcher.is_excluded)
        if len(found) == 1 or found[1] != "f":
            return {"item": found}, b""
        try:
            opened = contents.Opened(self._workspace, path)
        except FileNotFoundError:
            # There may be a directory in its place, or another file, of which nothing is said yet.
            return {"item": contents.look(self._workspace, path, self.watcher.is_excluded)}, b""
        except OSError as error:
            return {"item": found, "failed": error.strerror or "input/output error"}, b""
        try:
            if opened.size > INLINE_BYTES:
                return {"item": opened.item, "large": True}, b""
            return {"item": opened.item}, opened.read(0, opened.size)
        except OSError as error:
            return {"item": found, "failed": error.strerror or "input/output error"}, b""
        finally:
            opened.close()


class _Stream:
    """Records out of a body that comes in pieces."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._buffer = bytearray()
        self._left = 0
        self.large: restoring.Header | None = None

    async def batch(self) -> list[tuple[restoring.Header, bytes]] | None:
        """Return the next records with their bytes, as many as are handled at once; None at the end.

        Up to one that is too large to be held: ``large`` is its header then, and ``part`` has its
        bytes, all of which the caller takes. Raises AgentError for what is no record.
        """
        records: list[tuple[restoring.Header, bytes]] = []
        size, self.large = 0, None
        while len(records) < _BATCH_RECORDS and size < _PART_BYTES:
            if not await self._fill(_LENGTH_BYTES):
                return records or None
            length = int.from_bytes(self._take(_LENGTH_BYTES), "big")
            if length > _MAX_HEADER or not await self._fill(length):
                raise invalid("the body is no series of records")
            try:
                header = json.loads(self._take(length))
                self._left = int(header.get("bytes", 0))
            except (ValueError, AttributeError, TypeError):
                raise invalid("the body is no series of records") from None
            if self._left > INLINE_BYTES:
                self.large = header
                break
            records.append((header, await self.part(INLINE_BYTES)))
            size += len(records[-1][1])
        return records

    async def part(self, size: int) -> bytes:
        """Return so many of the bytes behind the header, or those that are left."""
        size = min(size, self._left)
        if not await self._fill(size):
            raise invalid("the body ends within a record")
        self._left -= size
        return self._take(size)

    async def _fill(self, size: int) -> bool:
        while len(self._buffer) < size:
            part = await anext(self._body, None)
            if part is None:
                return False
            self._buffer += part
        return True

    def _take(self, size: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken


async def _nothing() -> None:
    pass


async def _paths(exchange: Exchange) -> list[bytes]:
    return _paths_in(await exchange.json())


def _paths_in(body: dict[str, Any]) -> list[bytes]:
    wanted = body.get("paths")
    if not isinstance(wanted, list) or len(wanted) > MAX_PATHS:
        raise invalid(f"paths: a list of up to {MAX_PATHS}")
    return [_parsed(each) for each in wanted]


def _parsed(value: Any) -> bytes:
    if not isinstance(value, str):
        raise invalid("path: a text")
    return paths.parse(value.encode("utf-8", "surrogateescape"))


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _span(value: Any) -> tuple[int, int]:
    match value:
        case [int(offset), int(size)] if offset >= 0 and 0 <= size <= contents.LARGEST_CHUNK:
            return offset, size
    raise invalid("blocks: pairs of offset and size")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
