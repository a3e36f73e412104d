"""The calls about files: HTTP on one side, blocking work in a few threads on the other."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from threading import Barrier, BrokenBarrierError
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote_from_bytes

from cluster.codi.agent import files, paths
from cluster.codi.agent.archive import Archive
from cluster.codi.agent.config import Config
from cluster.codi.agent.errors import AgentError, invalid
from cluster.codi.agent.exchange import STALL_SECONDS, Exchange

T = TypeVar("T")

MAX_LISTED = 10_000
_MAX_ARCHIVES = 2
_THREADS = 4
_THREAD_START_SECONDS = 5.0
_BLOCK = 256 << 10
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})$", re.ASCII)


class FileRoutes:
    """Handlers for the table in ``routes``: each takes the exchange and the decoded path behind it."""

    def __init__(self, config: Config) -> None:
        self._max_file = config.max_file
        self.workspace = paths.Workspace(config.workspace)
        self._commit = asyncio.Lock()
        self._archives = 0
        # Started at once: when programs have used up the container's processes, it is too late.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="files")
        barrier = Barrier(_THREADS)
        for _ in range(_THREADS):
            self._threads.submit(_meet, barrier)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def tree(self, exchange: Exchange, rest: bytes) -> None:
        """``GET /tree/{path}``."""
        path = paths.parse(rest)
        entries, truncated = await self.run(files.tree, self.workspace, path, MAX_LISTED)
        listed = [_entry(entry) for entry in entries]
        shown = "" if path == b"." else _name(path)["name"]
        exchange.answer(200, {"path": shown, "entries": listed, "truncated": truncated})

    async def get(self, exchange: Exchange, rest: bytes) -> None:
        """``GET /files/{path}``, with ``Range``, ``If-Range`` and ``If-None-Match``."""
        path = paths.parse(rest)
        opened = await self.run(files.open_for_reading, self.workspace, path)
        try:
            headers = [
                ("etag", opened.etag),
                ("last-modified", formatdate(opened.mtime, usegmt=True)),
                ("accept-ranges", "bytes"),
                ("content-type", "application/octet-stream"),
            ]
            if exchange.headers.get("if-none-match") == opened.etag:
                exchange.begin(304, headers, None)
                exchange.finish()
                return
            start, end = 0, opened.size
            wanted = exchange.headers.get("range")
            if exchange.headers.get("if-range", opened.etag) != opened.etag:
                wanted = None
            found = parse_range(wanted, opened.size) if wanted else None
            if found is not None:
                start, end = found
                headers.append(("content-range", f"bytes {start}-{end - 1}/{opened.size}"))
            exchange.begin(206 if found else 200, headers, end - start)
            await self._send(exchange, opened.fd, start, end)
            exchange.finish()
        finally:
            os.close(opened.fd)

    async def archive(self, exchange: Exchange, rest: bytes) -> None:
        """``GET /archive/{path}``: a directory as a tar stream, made while it is sent."""
        if self._archives >= _MAX_ARCHIVES:
            raise AgentError(409, "too_many", f"up to {_MAX_ARCHIVES} archives are sent at once")
        self._archives += 1
        try:
            archive = await self.run(Archive, self.workspace, paths.parse(rest))
            try:
                part = await self.run(archive.next)
                exchange.begin(200, [("content-type", "application/x-tar")], None)
                while part:
                    exchange.send(part)
                    await exchange.link.drain(STALL_SECONDS)
                    part = await self.run(archive.next)
                exchange.finish()
            finally:
                await self.run(archive.close)
        finally:
            self._archives -= 1

    async def put(self, exchange: Exchange, rest: bytes) -> None:
        """``PUT /files/{path}``, with ``If-Match`` and ``If-None-Match``."""
        path = paths.parse(rest)
        if int(exchange.headers.get("content-length", 0)) > self._max_file:
            raise self._too_large()
        conditions = files.Conditions(
            exchange.headers.get("if-match"), exchange.headers.get("if-none-match")
        )
        given = exchange.headers.get("x-codi-mode", "")
        if given and not (given.isascii() and given.isdecimal() and len(given) <= 4):
            raise invalid("x-codi-mode: permissions in octal")
        mode = int(given, 8) if given and not set(given) & set("89") else None
        draft = await self.run(files.Draft, self.workspace, path, conditions, mode)
        try:
            async for part in exchange.body():
                if draft.size + len(part) > self._max_file:
                    raise self._too_large()
                await self.run(draft.write, part)
            await self.run(draft.sync)
            async with self._commit:
                etag = await self.run(draft.commit)
            answer = {"path": _name(path)["name"], "size": draft.size, "etag": etag}
        finally:
            await self.run(draft.discard)
        exchange.answer(200, answer)

    async def delete(self, exchange: Exchange, rest: bytes) -> None:
        """``DELETE /files/{path}``."""
        recursive = parse_qs(exchange.query).get("recursive") == ["1"]
        path, if_match = paths.parse(rest), exchange.headers.get("if-match")
        await self.run(
            lambda: files.delete(self.workspace, path, recursive=recursive, if_match=if_match)
        )
        exchange.answer(200, {})

    async def move(self, exchange: Exchange, _rest: bytes) -> None:
        """``POST /move``."""
        body = await exchange.json()
        source, target = (_path_of(body, name) for name in ("source", "target"))
        overwrite = body.get("overwrite") is True
        await self.run(lambda: files.move(self.workspace, source, target, overwrite=overwrite))
        exchange.answer(200, {})

    async def make_directory(self, exchange: Exchange, _rest: bytes) -> None:
        """``POST /directories``."""
        path = _path_of(await exchange.json(), "path")
        made = await self.run(files.make_directory, self.workspace, path)
        exchange.answer(201 if made else 200, {})

    async def _send(self, exchange: Exchange, fd: int, start: int, end: int) -> None:
        """Send a part of a file; one that became shorter meanwhile breaks the connection."""
        while start < end:
            data = await self.run(os.pread, fd, min(_BLOCK, end - start), start)
            if not data:
                raise ConnectionAbortedError("the file became shorter")
            exchange.send(data)
            await exchange.link.drain(STALL_SECONDS)
            start += len(data)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Work in a thread, and stay until it is done even when cancelled: it holds descriptors."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, work, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait((future,), timeout=1.0)
            raise

    def _too_large(self) -> AgentError:
        return AgentError(
            413, "too_large", f"a file has up to {self._max_file} bytes", limit_bytes=self._max_file
        )


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the part of a file that ``Range`` asks for (RFC 9110, 14.1.2), None for all of it.

    What is no single byte range is ignored, as the RFC allows. Raises AgentError 416.
    """
    match = _RANGE.match(header.strip())
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size or start >= end:
        raise AgentError(416, "invalid_argument", f"range: the file has {size} bytes")
    return start, end


def _entry(entry: files.Entry) -> dict[str, Any]:
    shown = {
        **_name(entry.name),
        "type": entry.kind,
        "size": entry.size,
        "mtime": entry.mtime,
        "mode": entry.mode,
    }
    if entry.target is not None:
        shown["target"] = _name(entry.target)["name"]
    return shown


def _name(raw: bytes) -> dict[str, str]:
    """Return a name as text; one that is no UTF-8 with its bytes percent-encoded beside it."""
    try:
        return {"name": raw.decode()}
    except UnicodeDecodeError:
        return {"name": raw.decode("utf-8", "replace"), "encoded": quote_from_bytes(raw, safe="/")}


def _path_of(body: dict[str, Any], name: str) -> bytes:
    value = body.get(name)
    if not isinstance(value, str):
        raise invalid(f"{name}: a path")
    return paths.parse(value.encode("utf-8", "surrogateescape"))


def _meet(barrier: Barrier) -> None:
    """Hold a thread until all of them have started."""
    try:
        barrier.wait(_THREAD_START_SECONDS)
    except BrokenBarrierError:
        return
