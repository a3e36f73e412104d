"""A workspace that is kept: a real CODI, a real embedded store, a directory of packs, and a follower."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from actors.core.quotas import Quotas
from actors.core.records.archive import Unarchived
from actors.core.records.containers import ContainerStatus
from actors.core.records.sessions import SessionPhase, SessionRecord
from cluster.archive.restoring.chunk_reader import ChunkReader
from cluster.archive.syncer import WorkspaceSyncer
from cluster.archive.tools import Counters, Tools
from cluster.blobs import Blobs, DirectoryBlobs
from cluster.clock import SystemClock
from cluster.codi.bundle import Limits
from cluster.codi.feed_client import FeedClient
from cluster.store.engines.lmdb.engine import LmdbEngine
from cluster.store.layers import usage
from cluster.store.layers.entries import Entry, Kind, ManifestHead
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import sessions
from cluster.store.layers.workspaces import chunks, manifests
from cluster.store.layers.workspaces.manifests import Fence
from cluster.store.transactions.transaction import transact
from tests.fakes.events import EventLog
from tests.support.codi_process import SESSION, Codi, run_codi

WORKSPACE = "w"


@dataclass
class Kept:
    """The parts that a test works with."""

    tools: Tools
    counters: Counters
    codi: Codi
    syncer: WorkspaceSyncer

    @property
    def files(self) -> Path:
        return self.codi.workspace

    async def ask(self, work, *arguments, **named):
        return await transact(self.tools.engine, work, self.tools.keys, *arguments, **named)

    async def head(self) -> ManifestHead:
        return await self.ask(manifests.head, WORKSPACE)

    async def state(self, at: int | None = None) -> dict[str, Entry]:
        """Return every path of the manifest."""
        at = (await self.head()).version if at is None else at
        found: dict[str, Entry] = {}
        left = [b""]
        while left:
            directory = left.pop()
            for name, entry in (await self._children(directory, at)).items():
                path = directory + b"/" + name if directory else name
                found[path.decode("utf-8", "surrogateescape")] = entry
                if entry.kind is Kind.DIRECTORY:
                    left.append(path)
        return found

    async def _children(self, directory: bytes, at: int) -> dict[bytes, Entry]:
        found: dict[bytes, Entry] = {}
        last = None
        while True:
            page, last = await self.ask(manifests.children, WORKSPACE, directory, at, last)
            found |= page
            if last is None:
                return found

    async def content(self, entry: Entry) -> bytes:
        async def locate(names):
            return await self.ask(chunks.locations, WORKSPACE, names)

        reader = ChunkReader(self.tools.blobs, WORKSPACE, locate)
        return b"".join([part async for part in reader.content(entry)])

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.syncer.follow())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until_complete(self, incarnation: str) -> None:
        """Wait until the workspace is restored into the directory of that incarnation."""
        async with asyncio.timeout(60):
            while (await self.head()).incarnation != incarnation:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.02)

    async def until(self, condition: Callable[[dict[str, Entry]], bool]) -> dict[str, Entry]:
        """Wait until the manifest is as wished; the test's time limit ends it."""
        async with asyncio.timeout(60):
            while not condition(state := await self.state()):  # noqa: ASYNC110 - it is in a store
                await asyncio.sleep(0.02)
        return state


async def until_reported(kept: Kept, condition: Callable[[Unarchived | None], bool]):
    """Wait until the session reports as unarchived what is expected."""
    async with asyncio.timeout(60):
        while not condition(reported := await kept.ask(usage.unarchived, SESSION)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return reported


def follower_of(
    tools: Tools, codi: Codi, counters: Counters, container_id: str = "c-1"
) -> WorkspaceSyncer:
    return WorkspaceSyncer(
        tools, Fence(SESSION, WORKSPACE, container_id), codi.route(), counters, "u"
    )


@contextlib.asynccontextmanager
async def kept_workspace(
    directory: Path,
    stage: Path,
    *,
    blobs: Blobs | None = None,
    limits: Limits | None = None,
    incarnation: str = "i-1",
    quotas: Quotas | None = None,
    max_file: int = 1 << 40,
    setup: Callable[[Path], None] = lambda _: None,
) -> AsyncIterator[Kept]:
    """Run everything below ``directory``; what is kept there stays for the next time."""
    directory.mkdir(exist_ok=True, parents=True)
    engine = LmdbEngine(directory / "store", map_size=1 << 30)
    await engine.open()
    keys = Keyspace("t")
    numbers = itertools.count()
    run = directory.name
    async with FeedClient() as client:
        tools = Tools(
            engine=engine,
            keys=keys,
            blobs=blobs or DirectoryBlobs(directory / "chunks"),
            client=client,
            events=EventLog(),
            clock=SystemClock(),
            new_id=lambda kind: f"{kind}-{run}-{incarnation}-{next(numbers)}",
            max_file=max_file,
            quotas=quotas or Quotas(),
        )
        record = SessionRecord(
            session_id=SESSION, tenant_id="t", user_id="u", name="n", phase=SessionPhase.READY, epoch=1,
            workspace_id=WORKSPACE, container_id="c-1", container_status=ContainerStatus.READY,
            created_at=0, updated_at=0, last_activity=0,
        )  # fmt: skip

        async def begin(tr):
            sessions.put(tr, keys, record)

        await transact(engine, begin)
        box = directory / f"box-{incarnation}"
        box.mkdir()
        (box / "workspace").mkdir()
        setup(box / "workspace")
        with run_codi(box, stage, limits, incarnation=incarnation) as codi:
            counters = Counters()
            yield Kept(tools, counters, codi, follower_of(tools, codi, counters))
    await engine.close()
