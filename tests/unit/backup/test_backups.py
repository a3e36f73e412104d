"""Backups over a real store and real directories: whole, shared, checked, and never torn by a collector."""

from __future__ import annotations

import asyncio
import itertools
import os
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.core.errors.base import Busy, Unavailable
from actors.core.errors.requests import NotFound, PreconditionFailed
from actors.core.records.sessions import SessionPhase, SessionRecord
from cluster.archive.packs.collector import Collector
from cluster.archive.packs.packs import name_of, pack
from cluster.backup.catalog import Catalog, surviving
from cluster.backup.restorer import DamagedBackup, restore
from cluster.backup.scheduler import BackupScheduler, due_at
from cluster.backup.snapshots import EmbeddedSnapshots
from cluster.backup.verify import verify
from cluster.backup.writer import HOLD_SECONDS, BackupTools, BackupWriter
from cluster.blobs import DirectoryBlobs
from cluster.layout import Layout
from cluster.store.engines.interface import KeyRange
from cluster.store.engines.lmdb.engine import LmdbEngine
from cluster.store.layers.entries import GONE, ChunkRef, Entry, Kind
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import sessions
from cluster.store.layers.workspaces import backup_holds, manifests
from cluster.store.layers.workspaces.chunks import Packed
from cluster.store.layers.workspaces.manifests import Fence
from cluster.store.transactions.transaction import transact
from tests.fakes.pool_fakes import ManualClock
from tests.support.waiting import wait_until

MAP = 16 << 20
EVERYTHING = KeyRange(b"", b"\xff")


class House:
    """A server's store and chunks, and a place for its backups."""

    def __init__(self, directory: Path, engine: LmdbEngine) -> None:
        self.directory = directory
        self.engine = engine
        self.clock = ManualClock()
        self.keys = Keyspace("t")
        self.chunks = DirectoryBlobs(directory / "chunks")
        self.place = DirectoryBlobs(directory / "backups")
        self.catalog = Catalog(self.place)
        self.numbers = itertools.count(1)
        self.during = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def begin(self) -> None:
        record = SessionRecord(
            session_id="s", tenant_id="t", user_id="u", name="n", phase=SessionPhase.READY, epoch=1,
            workspace_id="w", container_id="c", created_at=0, updated_at=0, last_activity=0,
        )  # fmt: skip

        async def put(tr):
            sessions.put(tr, self.keys, record)

        await transact(self.engine, put)

    async def save(self, path: bytes, content: bytes | None) -> None:
        """Commit a version in which a file has this content, or is gone."""
        stored, entry = {}, GONE
        if content is not None:
            name, data = name_of(content), pack(content)
            pack_name = f"p{next(self.numbers)}"
            await self.chunks.put(f"w/{pack_name}", data)
            stored = {name: Packed(pack_name, 0, len(data))}
            entry = Entry(kind=Kind.FILE, size=len(content), chunks=(ChunkRef(name, len(content)),))
        head = await transact(self.engine, manifests.head, self.keys, "w")
        base = head.version if head is not None else 0
        await transact(
            self.engine, manifests.commit, self.keys, Fence("s", "w", "c"), base, {path: entry},
            stored, now=float(base),
        )  # fmt: skip

    def maker(self) -> BackupWriter:
        moments = EmbeddedSnapshots(self.engine.copy, MAP)

        @asynccontextmanager
        async def freeze(scratch, backup_id, reported):
            async with moments.freeze(scratch, backup_id, reported) as moment:
                self.during.set()
                await self.go_on.wait()
                yield moment

        tools = BackupTools(
            engine=self.engine,
            tenant_id="t",
            node_id="n-1",
            chunks=self.chunks,
            place=self.place,
            freeze=freeze,
            scratch=self.directory / "scratch",
            clock=self.clock,
            new_id=lambda kind: f"{kind}-{next(self.numbers):06d}",
        )
        return BackupWriter(tools)

    def collector(self) -> Collector:
        return Collector(
            self.engine, self.keys, self.chunks, self.clock,
            keep_seconds=0.0, keep_versions=1, new_id=lambda kind: f"{kind}-{next(self.numbers):06d}",
        )  # fmt: skip

    async def restored(self, backup, place: Path) -> Layout:
        layout = Layout(place)
        chunks = DirectoryBlobs(place / "chunks")
        await restore(self.place, backup, layout, chunks, lambda *_: None)
        return layout


@asynccontextmanager
async def opened(directory: Path):
    engine = LmdbEngine(directory, map_size=MAP)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture
async def house(tmp_path):
    async with opened(tmp_path / "store") as engine:
        made = House(tmp_path, engine)
        await made.begin()
        yield made


async def contents(engine: LmdbEngine) -> list[tuple[bytes, bytes]]:
    answer = await engine.get_range(EVERYTHING, None, limit=10_000, reverse=False)
    return answer.pairs


async def test_what_is_restored_is_what_was_there(house, tmp_path):
    await house.save(b"a", b"hello")
    await house.save(b"b", b"world")
    backup = await house.maker().create()
    await house.save(b"a", b"later")
    layout = await house.restored(backup, tmp_path / "new")
    assert (backup.sessions, backup.users, len(backup.packs)) == (1, 0, 2)
    assert layout.node_id() == "n-1"
    async with opened(layout.store_dir) as engine:
        keys = house.keys
        entry = (await transact(engine, manifests.lookup, keys, "w", b"a", 2))[1]
        assert entry.size == len(b"hello")
        assert await transact(engine, manifests.lookup, keys, "w", b"b", 2) is not None
        # Nobody holds there, and versions go on from where they were.
        await transact(engine, backup_holds.release, keys, backup.backup_id)
        before = (await house.engine.get_many([], None)).version
        assert (await engine.get_many([], None)).version > before - 10
    chunks = DirectoryBlobs(tmp_path / "new" / "chunks")
    assert set(await chunks.listing("w")) == {"p1", "p2"}


async def test_a_second_backup_copies_only_what_is_new(house):
    await house.save(b"a", b"x" * 10_000)
    first = await house.maker().create()
    await house.save(b"b", b"y" * 10_000)
    house.clock.advance(10)
    second = await house.maker().create()
    new = {piece.name for piece in second.packs} - {piece.name for piece in first.packs}
    assert len(new) == 1
    added = sum(piece.size for piece in (*second.parts, *second.packs) if piece.name not in {
        piece.name for piece in first.packs
    })  # fmt: skip
    assert second.copied_bytes == added
    assert await verify(house.place, second) == []
    assert await house.catalog.ids() == [first.backup_id, second.backup_id]


@pytest.mark.parametrize("hurt", ["pack altered", "pack gone", "store cut short"])
async def test_a_damaged_backup_is_refused_with_what_is_damaged(house, tmp_path, hurt):
    await house.save(b"a", b"hello")
    backup = await house.maker().create()
    piece = backup.parts[0] if "store" in hurt else backup.packs[0]
    path = tmp_path / "backups" / piece.name
    if hurt == "pack gone":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-1] if "cut" in hurt else data[:-1] + bytes([data[-1] ^ 1]))
    [damage] = await verify(house.place, backup)
    assert damage.name == piece.name
    with pytest.raises(DamagedBackup) as refused:
        await house.restored(backup, tmp_path / "new")
    assert piece.name in str(refused.value)
    assert not (tmp_path / "new").exists()


async def test_a_damaged_manifest_is_no_backup(house, tmp_path):
    backup = await house.maker().create()
    path = tmp_path / "backups" / "backups" / backup.backup_id
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    with pytest.raises(Unavailable, match="damaged"):
        await house.catalog.get(backup.backup_id)
    with pytest.raises(NotFound):
        await house.catalog.get("b-never")


async def test_a_server_that_is_not_empty_is_not_overwritten(house, tmp_path):
    backup = await house.maker().create()
    with pytest.raises(PreconditionFailed):
        await house.restored(backup, tmp_path)


async def test_nothing_that_a_backup_needs_is_collected_while_it_is_made(house, tmp_path):
    await house.save(b"a", b"hello")
    house.go_on.clear()
    making = asyncio.create_task(house.maker().create())
    await house.during.wait()
    await house.save(b"a", None)
    house.clock.advance(100)
    await house.collector().collect()
    with pytest.raises(Busy):
        await house.maker().create()
    house.go_on.set()
    backup = await making
    assert await verify(house.place, backup) == []
    assert [piece.name for piece in backup.packs] == ["w/p1"]
    await house.collector().collect()
    assert await house.chunks.listing("w") == {}
    await house.restored(backup, tmp_path / "new")


async def test_packs_of_nobody_are_swept_up_after_the_backup(house):
    await house.save(b"a", b"hello")
    await house.chunks.put("w/p-nobody", b"data")
    path = house.directory / "chunks" / "w" / "p-nobody"
    os.utime(path, (0, 0))
    now = house.clock.now()
    await transact(house.engine, backup_holds.hold, house.keys, "b-1", now, HOLD_SECONDS)
    await house.collector().sweep()
    assert "p-nobody" in await house.chunks.listing("w")
    await transact(house.engine, backup_holds.release, house.keys, "b-1")
    await house.collector().sweep()
    assert "p-nobody" not in await house.chunks.listing("w")


async def test_the_hold_of_a_maker_that_died_runs_out(house):
    await transact(
        house.engine, backup_holds.hold, house.keys, "b-dead", house.clock.now(), HOLD_SECONDS
    )
    with pytest.raises(Busy):
        await house.maker().create()
    house.clock.advance(HOLD_SECONDS + 1)
    backup = await house.maker().create()
    now = house.clock.now()
    assert not await transact(house.engine, backup_holds.held, house.keys, now)
    assert await house.catalog.ids() == [backup.backup_id]


async def test_old_backups_go_and_what_newer_ones_share_stays(house):
    await house.save(b"a", b"shared")
    await house.save(b"b", b"only the first")
    first = await house.maker().create()
    await house.save(b"b", None)
    await house.collector().collect()
    house.clock.advance(10)
    second = await house.maker().create()
    assert await house.catalog.expire(1) == [first.backup_id]
    assert await verify(house.place, second) == []
    assert set(await house.place.listing("w")) == {p.name[2:] for p in second.packs}
    assert await house.place.listing(first.backup_id) == {}


def test_when_the_next_backup_is_due():
    assert due_at(None, 1000.0, 21_600.0) == 1600.0
    assert due_at(None, 1000.0, 60.0) == 1060.0
    assert due_at(500.0, 1000.0, 60.0) == 560.0
    assert due_at(500.0, 1000.0, 0.0) is None


async def test_a_keeper_makes_what_is_asked_for_and_reports_why_not(house):
    keeper = BackupScheduler(house.maker(), house.catalog, house.clock, interval=0.0, keep=2)
    running = asyncio.create_task(keeper.run())
    try:
        keeper.start()
        state = await wait_until(keeper.state, lambda state: not state["running"])
        assert [each["sessions"] for each in state["backups"]] == [1]
        (house.directory / "backups").rename(house.directory / "gone")
        (house.directory / "backups").write_text("a file")
        keeper.start()
        wanted = {"backups_made_total": 1, "backup_failures_total": 1}
        await wait_until(lambda: asyncio.sleep(0, keeper.stats()), lambda stats: stats == wanted)
        assert (await keeper.state())["error"]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_the_newest_backups_are_kept_and_of_each_six_hours_before_one():
    hours = [f"b-202601{1 + hour // 24:02}T{hour % 24:02}0000-x" for hour in range(10 * 24)]
    kept = surviving(hours, 24, 28)
    assert kept[-24:] == hours[-24:]
    assert kept[:-24] == hours[3 * 24 + 5 : -24 : 6]  # 28 in all, four of them among the newest
    assert surviving(kept, 24, 28) == kept
    assert surviving(hours, 2, 0) == hours[-2:]
    assert surviving(hours, 0, 28) == hours
    assert surviving(["odd", *hours[:3]], 1, 0) == hours[2:3]
