"""Files that no process could hold in memory, and what memory the server's processes take meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

from cluster.bringup import leftovers
from coditect import AsyncClient, NotFound
from tests.support.server_process import ServerProcess

BLOCK = 1 << 20
_ANONYMOUS = re.compile(rb"^RssAnon:\s+(\d+) kB", re.MULTILINE)


class Content:
    """Bytes that can be made again: ``seed`` decides them. Of a sparse one, one block in 64 is no hole."""

    def __init__(self, seed: int, size: int, *, sparse: bool) -> None:
        self._random = random.Random(seed)
        self._size = size
        self._sparse = sparse
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The digest of what was sent so far."""
        return self._digest.hexdigest()

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield it, block by block."""
        zeros = bytes(BLOCK)
        for start in range(0, self._size, BLOCK):
            is_hole = self._sparse and start // BLOCK % 64
            block = zeros if is_hole else self._random.randbytes(BLOCK)
            block = block[: self._size - start]
            self._digest.update(block)
            yield block


async def sha256_of(stream: AsyncIterator[bytes]) -> tuple[str, int]:
    """Return the digest and the length of a stream."""
    digest, size = hashlib.sha256(), 0
    async for part in stream:
        digest.update(part)
        size += len(part)
    return digest.hexdigest(), size


class Memory:
    """The largest memory (anonymous, in bytes) that any process of a server has had, and its growth."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._first: dict[int, int] = {}
        self._most: dict[int, int] = {}
        self._names: dict[int, str] = {}

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look twice a second."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def growth(self) -> tuple[int, str]:
        """Return by how much the process that grew most grew, and its name."""
        grown = {pid: most - self._first[pid] for pid, most in self._most.items()}
        pid = max(grown, key=lambda each: grown[each])
        return grown[pid], self._names[pid]

    async def _watch(self) -> None:
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(0.5)

    def _look(self) -> None:
        for pid in {*self._pids(), *self._server.agents().values()}:
            process = Path(f"/proc/{pid}")
            try:
                found = _ANONYMOUS.search((process / "status").read_bytes())
                name = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:60]
            except OSError:
                continue
            if found is not None:
                size = int(found[1]) << 10
                self._first.setdefault(pid, size)
                self._most[pid] = max(size, self._most.get(pid, 0))
                self._names[pid] = name

    def _pids(self) -> list[int]:
        return [identity.pid for identity in leftovers.find(self._server.data_dir)]


async def until_kept(client: AsyncClient, session_id: str, path: str, size: int) -> int:
    """Wait until the newest kept version of a file has this size; return it."""
    while True:
        with contextlib.suppress(NotFound):
            newest = (await client.history(session_id, path))[0]
            if newest.size == size:
                return newest.version
        await asyncio.sleep(0.1)


async def program_sha256(client: AsyncClient, session_id: str, path: str) -> str:
    """Return the digest of a file as a program in the container reads it; "" when it is not there."""
    result = await client.exec(session_id, ["sha256sum", path], timeout_seconds=120)
    return result.stdout.partition(" ")[0]
