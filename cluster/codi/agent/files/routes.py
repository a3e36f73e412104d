"""The calls about files: HTTP on one side, blocking work in a few threads on the other."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from typing import Any, TypeVar
from urllib.parse import parse_qs

from cluster.codi import conditions
from cluster.codi.agent.config import Config
from cluster.codi.agent.errors import AgentError, invalid
from cluster.codi.agent.exchange import STALL_SECONDS, Exchange
from cluster.codi.agent.files import files, naming, paths, saving
from cluster.codi.agent.slots import Slots

T = TypeVar("T")

MAX_LISTED = 10_000
_MAX_ARCHIVES = 2
_MAX_EXTRACTIONS = 1  # each holds one of the threads for as long as it comes
_THREADS = 4
_THREAD_START_SECONDS = 5.0
_BLOCK = 256 << 10
_MAX_DIGITS = 10


class FileRoutes:
    """Handlers for the table in ``routes``: each takes the exchange and the decoded path behind it."""

    def __init__(self, config: Config) -> None:
        self._max_file = config.max_file
        self.workspace = paths.Workspace(config.workspace)
        self._commit = asyncio.Lock()
        self._archives = 0
        self._extractions = Slots(_MAX_EXTRACTIONS, "archives are unpacked")
        # Started at once: when programs have used up the container's processes, it is too late.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="files")
        barrier = Barrier(_THREADS)
        for _ in range(_THREADS):
            self._threads.submit(_meet, barrier)
        self._redone = asyncio.get_running_loop().run_in_executor(
            self._threads, saving.redo, self.workspace
        )

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def tree(self, exchange: Exchange, rest: bytes) -> None:
        """``GET /tree/{path}?after=&limit=``: a page of a directory, ``next`` names its last entry."""
        path, query = paths.parse(rest), naming.query(exchange.query)
        limit = query.get("limit", b"%d" % MAX_LISTED)
        if not (limit.isdigit() and len(limit) < _MAX_DIGITS and 0 < int(limit) <= MAX_LISTED):
            raise invalid(f"limit: a number from 1 to {MAX_LISTED}")
        after = query.get("after", b"")
        page = await self.run(files.tree, self.workspace, path, after, int(limit))
        answer = {
            "path": "" if path == b"." else naming.text(path),
            "entries": [_entry(entry) for entry in page.entries],
            "truncated": page.more,
        }
        if page.more and page.entries:
            answer["next"] = naming.text(page.entries[-1].name)
        exchange.answer(200, answer)

    async def get(self, exchange: Exchange, rest: bytes) -> None:
        """``GET`` and ``HEAD /files/{path}``, with conditions and a range (RFC 9110, 13 and 14)."""
        path, fields = paths.parse(rest), exchange.headers
        opened = await self.run(files.open_for_reading, self.workspace, path)
        state = opened.state
        try:
            headers = [("etag", state.etag), ("last-modified", state.last_modified)]
            if _judged(exchange, state) is conditions.Verdict.NOT_MODIFIED:
                exchange.begin(304, headers, None)
                exchange.finish()
                return
            headers += [("accept-ranges", "bytes"), ("content-type", "application/octet-stream")]
            if exchange.method == "HEAD":
                exchange.begin(200, headers, opened.size)
                exchange.finish()
                return
            try:
                part = conditions.span(fields, state, opened.size, time.time())
            except conditions.Unsatisfiable as error:
                detail = f"the file has {error.size} bytes"
                raise AgentError(416, "range_not_satisfiable", detail, size=error.size) from None
            start, end = part or (0, opened.size)
            if part is not None:
                headers.append(("content-range", f"bytes {start}-{end - 1}/{opened.size}"))
            exchange.begin(206 if part else 200, headers, end - start)
            await self._send(exchange, opened.fd, start, end)
            exchange.finish()
        finally:
            os.close(opened.fd)

    async def archive(self, exchange: Exchange, rest: bytes) -> None:
        """``GET /archive/{path}``: a directory as a tar stream, made while it is sent."""
        # Imported by the first who asks: a container starts without the library of tar files.
        from cluster.codi.agent.files.archive import Archive  # noqa: PLC0415

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

    async def extract(self, exchange: Exchange, rest: bytes) -> None:
        """``PUT /archive/{path}``: a tar stream, as it is or by gzip, unpacked while it comes."""
        from cluster.codi.agent.files.extracting import Extraction  # noqa: PLC0415 - as above
        from cluster.codi.agent.files.feeding import Feeder  # noqa: PLC0415

        with self._extractions.held():
            feeder = Feeder(STALL_SECONDS)
            extraction = await self.run(Extraction, self.workspace, paths.parse(rest), feeder.read)

            def work() -> dict[str, Any]:
                try:
                    return extraction.run()
                finally:
                    feeder.abandon()
                    extraction.close()

            working = asyncio.ensure_future(self.run(work))
            try:
                async for part in exchange.body():
                    if not await feeder.put(part):
                        break
                else:
                    feeder.end()
                answer = await working
            finally:
                feeder.end(broken=True)  # if it has not ended by now
                await asyncio.wait({working}, timeout=STALL_SECONDS)
        exchange.answer(200, answer)

    async def put(self, exchange: Exchange, rest: bytes) -> None:
        """``PUT /files/{path}``, with conditions (RFC 9110, 13)."""
        path = paths.parse(rest)
        if int(exchange.headers.get("content-length", 0)) > self._max_file:
            raise self._too_large()
        given = exchange.headers.get("x-codi-mode", "")
        if given and not (given.isascii() and given.isdecimal() and len(given) <= 4):
            raise invalid("x-codi-mode: permissions in octal")
        mode = int(given, 8) if given and not set(given) & set("89") else None
        draft = await self.run(saving.Draft, self.workspace, path, exchange.headers, mode)
        try:
            async for part in exchange.body():
                if draft.size + len(part) > self._max_file:
                    raise self._too_large()
                await self.run(draft.write, part)
            await self.run(draft.sync)
            async with self._commit:
                etag = await self.run(draft.commit)
            answer = {
                "path": naming.text(path),
                "stored": naming.text(await self.run(lambda: draft.path)),
                "size": draft.size,
                "etag": etag,
            }
        finally:
            await self.run(draft.discard)
        exchange.answer(200, answer)

    async def delete(self, exchange: Exchange, rest: bytes) -> None:
        """``DELETE /files/{path}``."""
        recursive = parse_qs(exchange.query).get("recursive") == ["1"]
        path, fields = paths.parse(rest), exchange.headers
        await self.run(
            lambda: files.delete(self.workspace, path, recursive=recursive, fields=fields)
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
        await asyncio.shield(self._redone)
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


def _judged(exchange: Exchange, state: conditions.State) -> conditions.Verdict:
    """Weigh the conditions of a reader. Raises AgentError when one does not hold."""
    try:
        verdict = conditions.judge(exchange.method, exchange.headers, state)
    except conditions.Malformed as error:
        raise invalid(str(error)) from None
    if verdict is conditions.Verdict.FAILED:
        detail = "the file is another one"
        raise AgentError(412, "precondition_failed", detail, etag=state.etag)
    return verdict


def _entry(entry: files.Entry) -> dict[str, Any]:
    shown = {
        "name": naming.text(entry.name),
        "type": entry.kind,
        "size": entry.size,
        "mtime": entry.mtime,
        "mode": entry.mode,
    }
    if (encoded := naming.encoded(entry.name)) is not None:
        shown["encoded"] = encoded
    if entry.target is not None:
        shown["target"] = naming.text(entry.target)
    return shown


def _path_of(body: dict[str, Any], name: str) -> bytes:
    value = body.get(name)
    if not isinstance(value, str):
        raise invalid(f"{name}: a path")
    return paths.parse(naming.raw(value))


def _meet(barrier: Barrier) -> None:
    """Hold a thread until all of them have started."""
    try:
        barrier.wait(_THREAD_START_SECONDS)
    except BrokenBarrierError:
        return
