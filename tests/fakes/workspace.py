"""A workspace in memory, and a client of its CODI: what is there, what was there, and how it is reported.

Every answer takes a few turns of the event loop, between which the workspace may change. ``history`` has
what each path ever was, in order, so that a test can say whether what is kept of it was ever true.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actors.core.errors.access import PermissionDenied
from actors.core.errors.base import Unavailable
from actors.core.errors.requests import NotFound
from cluster.archive.packs.packs import name_of
from cluster.codi.agent.changes.feed import ROOT, Feed
from cluster.store.layers.entries import join


@dataclass(frozen=True)
class Node:
    """What is at a path: ``f`` a file, ``d`` a directory, ``o`` what is not kept."""

    kind: str
    data: bytes = b""
    stamp: int = 0
    inode: int = 0
    closed: bool = False
    """Nobody may read it; of a directory, nobody may know what is in it."""

    @property
    def state(self) -> bytes | None:
        """What a manifest would have of it, as far as it matters here."""
        return {"f": b"f" + self.data, "d": b"d"}.get(self.kind)


@dataclass
class Workspace:
    """Files by path. Directories above a path are made with it, and what was in its way goes."""

    paths: Sequence[bytes]
    small: int
    nodes: dict[bytes, Node] = field(default_factory=dict)
    feed: Feed = field(default_factory=lambda: Feed(limit=12))
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    history: dict[bytes, list[bytes | None]] = field(default_factory=dict)
    restless: set[bytes] = field(default_factory=set)
    awaited: set[bytes] = field(default_factory=set)
    """What was there before the directory was lost, and is yet to be put back: its absence is no change."""
    incarnation: int = 1
    faults: int = 0
    delays: list[int] = field(default_factory=list)
    """For how many turns of the event loop the next answers are on their way, the last one first."""
    follower: str = ""
    stamps: itertools.count = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.history = {path: [None] for path in self.paths}

    # ---- changes --------------------------------------------------------------------------------

    def lose(self, kept: dict[bytes, bytes | None]) -> None:
        """Go on in an empty directory; ``kept`` is what its manifest has."""
        self.incarnation += 1
        self.nodes.clear()
        self.restless.clear()
        self.feed = Feed(limit=12)
        self.awaited = {path for path, state in kept.items() if state is not None}
        for path, states in self.history.items():
            if states[-1] != kept[path]:
                states.append(kept[path])

    def put(self, path: bytes, kind: str, data: bytes = b"") -> None:
        if kind != "d" and any(each.startswith(path + b"/") for each in self.awaited):
            return  # it would be in the way of what is to be put back
        for outer in outer_of(path):
            self._make_way(outer, "d")
            if outer not in self.nodes:
                self._set(outer, Node("d"))
        self._make_way(path, kind)
        if kind != "d" or path not in self.nodes or self.nodes[path].kind != "d":
            self._set(path, Node(kind, data))
        self._note()

    def append(self, path: bytes, data: bytes) -> None:
        """Write what depends on what was there."""
        found = self.nodes.get(path)
        if found is None or found.kind != "f":
            self.put(path, "f", data)
            return
        self.nodes[path] = replace(found, data=found.data + data, stamp=next(self.stamps))
        self._mark(path)
        self._note()

    def remove(self, path: bytes) -> None:
        for each in [p for p in self.nodes if p == path or p.startswith(path + b"/")]:
            del self.nodes[each]
        self._mark(path)
        self._note()

    def rename(self, old: bytes, new: bytes) -> None:
        within = (new + b"/").startswith(old + b"/") or (old + b"/").startswith(new + b"/")
        if old not in self.nodes or within:
            return
        moved = {p: n for p, n in self.nodes.items() if p == old or p.startswith(old + b"/")}
        if any(new + p.removeprefix(old) not in self.history for p in moved) or self.awaited:
            return
        for outer in outer_of(new):
            if outer not in self.nodes or self.nodes[outer].kind != "d":
                return
        self._make_way(new, moved[old].kind)
        for each in [p for p in self.nodes if p.startswith(new + b"/")]:
            del self.nodes[each]
        for path in moved:
            del self.nodes[path]
        # Only what is renamed itself has another stamp, and not what is in it (rename(2)).
        self.nodes |= {new + p.removeprefix(old): n for p, n in moved.items()}
        self.nodes[new] = replace(self.nodes[new], stamp=next(self.stamps))
        self._mark(old)
        self._mark(new, tree=self.nodes[new].kind == "d")
        self._note()

    def _make_way(self, path: bytes, kind: str) -> None:
        """Remove what cannot be replaced at once: directories by others, and others by directories."""
        if path in self.nodes and (self.nodes[path].kind == "d") != (kind == "d"):
            self.remove(path)

    def close(self, path: bytes, *, closed: bool) -> None:
        if path in self.nodes:
            self.nodes[path] = replace(self.nodes[path], closed=closed, stamp=next(self.stamps))
            self._mark(path)

    def _set(self, path: bytes, node: Node) -> None:
        number = next(self.stamps)
        self.nodes[path] = replace(node, stamp=number, inode=number)
        self._mark(path, tree=node.kind == "d")

    def _mark(self, path: bytes, *, tree: bool = False) -> None:
        self.feed.mark(path, tree=tree)
        self.changed.set()

    def _note(self) -> None:
        self.awaited -= self.nodes.keys()
        for path, states in self.history.items():
            if path in self.awaited:
                continue
            found = self.nodes.get(path)
            state = found.state if found is not None else None
            if states[-1] != state:
                states.append(state)

    def is_hidden(self, path: bytes) -> bool:
        """Return whether it cannot even be known what is at a path."""
        return any(self.nodes[o].closed for o in outer_of(path) if o in self.nodes)

    # ---- CODI's answers -------------------------------------------------------------------------

    async def _point(self) -> None:
        await asyncio.sleep(0)
        if self.faults:
            self.faults -= 1
            raise Unavailable("the container", "for a moment")

    async def _travel(self) -> None:
        for _ in range(self.delays.pop() if self.delays else 0):
            await asyncio.sleep(0)

    def _item(self, path: bytes, name: bytes | None = None) -> list[Any]:
        text = (path if name is None else name).decode()
        node = self.nodes.get(path)
        if self.is_hidden(path):
            return [text, "x"]
        if node is None:
            return [text]
        mode = 0o000 if node.closed else 0o644
        if node.kind == "d":
            return [text, "d", mode, 0, node.stamp, node.stamp, node.inode, None, 0]
        size = len(node.data)
        return [text, node.kind, mode, size, node.stamp, node.stamp, node.inode, None, size]

    async def changes(self, _route: Any, follower: str, after: int, wait: float) -> dict[str, Any]:
        await self._point()
        if after < 0:
            self.follower = follower
            self.feed.mark(ROOT, tree=True)
        elif follower != self.follower:
            raise Unavailable("the container", "another follower has taken over")
        else:
            self.feed.acknowledge(after)
        if not len(self.feed) and wait:
            self.changed.clear()
            await self.changed.wait()
        found = self.feed.changes(4)
        await self._point()
        answer = {
            "incarnation": f"i-{self.incarnation}",
            "cursor": found.cursor,
            "trees": [mark.path.decode() for mark in found.marks if mark.tree],
            "items": [self._item(mark.path) for mark in found.marks if mark.path != ROOT],
        }
        await self._travel()
        return answer

    async def listings(
        self, _route: Any, paths: Sequence[str], _after: str | None = None
    ) -> list[tuple[str, list[Any] | bool | None, None]]:
        await self._point()
        answer: list[tuple[str, list[Any] | bool | None, None]] = []
        for text in paths:
            path = b"" if text == "." else text.encode()
            node = self.nodes.get(path, Node("d") if not path else None)
            if self.is_hidden(path) or (node is not None and node.closed):
                answer.append((text, False, None))
            elif node is None or node.kind != "d":
                answer.append((text, None, None))
            else:
                inside = sorted(p for p in self.nodes if p.rpartition(b"/")[0] == path)
                names = [(p, p.rpartition(b"/")[2]) for p in inside]
                answer.append((text, [self._item(p, name) for p, name in names], None))
            await asyncio.sleep(0)
        await self._travel()
        return answer

    async def contents(
        self, _route: Any, paths: Sequence[str]
    ) -> AsyncIterator[tuple[dict[str, Any], bytes]]:
        for text in paths:
            await self._point()
            path = text.encode()
            item, node = self._item(path), self.nodes.get(path)
            if len(item) == 1 or item[1] != "f" or node is None:
                await self._travel()
                yield {"item": item}, b""
            elif node.closed:
                yield {"item": item, "failed": "forbidden"}, b""
            elif len(node.data) > self.small:
                yield {"item": item, "large": True}, b""
            else:
                self._stir(path)
                await asyncio.sleep(0)
                now = self.nodes.get(path)
                await self._travel()
                yield {"item": item}, now.data if now is not None else b""

    async def cut(
        self, _route: Any, text: str, offset: int, limit: int, _told: Any
    ) -> dict[str, Any]:
        await self._point()
        path = text.encode()
        node = self._opened(path)
        end = min(len(node.data), offset + limit)
        data = node.data[offset:end]
        chunks = [[name_of(data).hex(), offset, len(data)]] if data else []
        item = self._item(path)
        self._stir(path)
        return {
            "item": item, "holes": [], "factor": 1, "chunks": chunks,
            "next": end if end < len(node.data) else None,
        }  # fmt: skip

    async def blocks(
        self, _route: Any, text: str, spans: Sequence[tuple[int, int]]
    ) -> AsyncIterator[bytes]:
        for offset, size in spans:
            await self._point()
            data = self._opened(text.encode()).data[offset : offset + size]
            if len(data) < size:
                raise Unavailable("the container", "the file became shorter")
            yield data

    async def restore(self, _route: Any, records: AsyncIterator[bytes]) -> dict[str, Any]:
        stream = b"".join([part async for part in records])
        made: list[Any] = []
        failed: list[Any] = []
        while stream:
            await self._point()
            end = 4 + int.from_bytes(stream[:4], "big")
            header = json.loads(stream[4:end])
            data, stream = stream[end : end + header["bytes"]], stream[end + header["bytes"] :]
            path = header["path"].encode()
            above = [self.nodes.get(outer) for outer in outer_of(path)]
            if header["kind"] in "ms":
                continue
            if any(each is not None and (each.kind != "d" or each.closed) for each in above):
                failed.append([header["path"], "there is no way to it"])
            elif path not in self.nodes:
                self.put(path, header["kind"], data)
                made.append(self._item(path))
        return {"made": made, "failed": failed}

    def _opened(self, path: bytes) -> Node:
        node = self.nodes.get(path)
        if node is None or node.kind != "f":
            raise NotFound("file", path.decode())
        if node.closed or self.is_hidden(path):
            raise PermissionDenied(json.dumps(path.decode()))
        return node

    def _stir(self, path: bytes) -> None:
        if path in self.restless:
            self.append(path, b"%d." % next(self.stamps))


def outer_of(path: bytes) -> list[bytes]:
    """Return the directories above a path, the outermost first."""
    names = path.split(b"/")[:-1]
    return list(itertools.accumulate(names, join))
