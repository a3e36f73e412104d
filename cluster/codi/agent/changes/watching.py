"""``GET /watch/{path}``: changes below a path as they are seen, JSON objects by line."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from cluster.codi.agent.changes.watcher import Watcher
from cluster.codi.agent.exchange import STALL_SECONDS, Exchange
from cluster.codi.agent.files import contents, naming, paths
from cluster.codi.agent.files.paths import Workspace
from cluster.codi.agent.slots import Slots

_MAX_WATCHES = 16
_MAX_WAITING = 2000
_SETTLE_SECONDS = 0.05
_ALIVE_SECONDS = 10.0
_KINDS = {"f": "file", "d": "directory", "l": "link", "o": "other"}


class WatchRoutes:
    """Handlers for the table in ``routes``. ``run`` works in a thread."""

    def __init__(self, watcher: Watcher, workspace: Workspace, run: Any) -> None:
        self._watcher = watcher
        self._workspace = workspace
        self._run = run
        self._slots = Slots(_MAX_WATCHES, "watches are open")

    async def watch(self, exchange: Exchange, rest: bytes) -> None:
        """Report changes; ``lost`` where some may have been missed: who needs all of them looks there."""
        path = paths.parse(rest)
        with self._slots.held():
            await exchange.while_connected(self._report(exchange, path))

    async def _report(self, exchange: Exchange, path: bytes) -> None:
        waiting: dict[bytes, bool] = {}
        moved = asyncio.Event()

        def changed(where: bytes, tree: bool) -> None:
            if tree and _is_within(path, where):
                waiting[path] = True
            elif not _is_within(where, path):
                return
            elif len(waiting) >= _MAX_WAITING:
                waiting.clear()
                waiting[path] = True
            else:
                waiting[where] = waiting.get(where, False) or tree
            moved.set()

        self._watcher.asked()
        await self._watcher.begin()
        self._watcher.listeners.add(changed)
        try:
            exchange.begin(200, [("content-type", "application/x-ndjson")], None)
            self._send(exchange, {"ready": True})
            while True:
                try:
                    async with asyncio.timeout(_ALIVE_SECONDS):
                        await moved.wait()
                except TimeoutError:
                    self._send(exchange, {})
                else:
                    await asyncio.sleep(_SETTLE_SECONDS)
                    moved.clear()
                    batch = list(waiting.items())
                    waiting.clear()
                    for line in await self._run(self._looked_at, batch):
                        self._send(exchange, line)
                self._watcher.asked()
                await exchange.link.drain(STALL_SECONDS)
        finally:
            self._watcher.listeners.discard(changed)

    def _looked_at(self, batch: list[tuple[bytes, bool]]) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []
        for path, tree in batch:
            name = "" if path == b"." else naming.text(path)
            if tree:
                lines.append({"lost": name})
            if path != b".":
                found = contents.look_at(self._workspace, path)
                kind = _KINDS.get(found[1], "other") if len(found) > 1 else "gone"
                lines.append({"path": name, "type": kind})
        return lines

    def _send(self, exchange: Exchange, line: dict[str, Any]) -> None:
        exchange.send(json.dumps(line).encode() + b"\n")


def _is_within(path: bytes, directory: bytes) -> bool:
    return directory in (b".", path) or path.startswith(directory + b"/")
