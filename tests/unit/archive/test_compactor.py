"""Packs in which little lives are made smaller, whatever else goes on."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.store import StoreFull
from actors.core.errors.workspaces import ContentMissing
from cluster.archive.packs.collector import Collector
from cluster.archive.packs.compactor import Sparse, worth_compacting
from cluster.blobs import DirectoryBlobs
from cluster.store.layers.workspaces import chunks
from tests.support.archive import WORKSPACE, kept_workspace

KIB = 1 << 10


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


@pytest.fixture
async def kept(tmp_path, stage):
    async with kept_workspace(tmp_path / "kept", stage) as made:
        yield made


def collector(kept) -> Collector:
    tools = kept.tools
    return Collector(
        tools.engine, tools.keys, tools.blobs, tools.clock,
        keep_seconds=0, keep_versions=1, new_id=tools.new_id,
    )  # fmt: skip


async def stored(kept) -> int:
    return sum(size for _, size in (await kept.tools.blobs.listing(WORKSPACE)).values())


async def save(kept, seed: int, count: int = 10, size: int = 100 * KIB) -> dict[str, bytes]:
    """Save files in one version, whose chunks are one pack."""
    contents = {f"{seed}-{n}": random.Random(f"{seed}-{n}").randbytes(size) for n in range(count)}
    for name, data in contents.items():
        (kept.files / name).write_bytes(data)
    await kept.syncer.save([name.encode() for name in contents])
    return contents


async def remove(kept, names: list[str]) -> None:
    for name in names:
        (kept.files / name).unlink()
    await kept.syncer.save([name.encode() for name in names])


async def is_kept(kept, contents: dict[str, bytes]) -> None:
    state = await kept.state()
    assert set(state) == set(contents)
    for name, data in contents.items():
        assert await kept.content(state[name]) == data


def test_the_emptiest_packs_come_first_and_no_more_than_allowed():
    sizes = {"full": 1000 * KIB, "half": 1000 * KIB, "few": 1000 * KIB, "small": 100 * KIB}
    live = {"full": 900 * KIB, "half": 400 * KIB, "few": 10 * KIB, "small": 40 * KIB, "?": 1}
    assert worth_compacting(sizes, live, 1 << 30) == [
        Sparse("few", 1000 * KIB, 10 * KIB), Sparse("half", 1000 * KIB, 400 * KIB)
    ]  # fmt: skip
    assert [each.pack for each in worth_compacting(sizes, live, 100 * KIB)] == ["few"]
    assert worth_compacting(sizes, live, KIB) == []


async def test_a_pack_with_one_live_chunk_of_many_gives_back_its_bytes(kept):
    contents = await save(kept, 1)
    await remove(kept, list(contents)[1:])
    await collector(kept).collect()
    assert await stored(kept) > 1000 * KIB
    await collector(kept).sweep()
    await collector(kept).collect()
    assert await stored(kept) < 110 * KIB
    await is_kept(kept, {name: contents[name] for name in list(contents)[:1]})
    assert collector(kept).stats()["chunks_moved_total"] == 0
    before = await kept.tools.blobs.listing(WORKSPACE)
    await collector(kept).sweep()
    assert (await kept.tools.blobs.listing(WORKSPACE)).keys() == before.keys()


async def test_it_can_die_anywhere(kept, monkeypatch):
    """In each step something fails; the next sweep does what is left, and nothing is lost."""
    contents = await save(kept, 1)
    left = {name: contents[name] for name in list(contents)[:2]}
    await remove(kept, list(contents)[2:])
    await collector(kept).collect()
    blobs, put, relocate = kept.tools.blobs, kept.tools.blobs.put, chunks.relocate

    async def failing(*_, **__):
        raise Unavailable("chunk store", "for a moment")

    async def put_and_fail(name, data):
        await put(name, data)
        raise Unavailable("chunk store", "for a moment")

    async def full(*_):
        raise StoreFull

    for target, name, failure in (
        (blobs, "put", failing), (blobs, "put", put_and_fail), (blobs, "get", failing),
        (chunks, "relocate", failing),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(target, name, failure)
            failing_collector = collector(kept)
            await failing_collector.sweep()
            assert failing_collector.stats()["collector_failures_total"] == 1
        await is_kept(kept, left)
    with monkeypatch.context() as patch:
        patch.setattr(blobs, "put", full)
        await collector(kept).sweep()
    assert chunks.relocate is relocate
    await collector(kept).sweep()
    await collector(kept).collect()
    await is_kept(kept, left)


async def test_a_reader_that_asked_before_finds_the_chunk_where_it_is_now(kept):
    contents = await save(kept, 1)
    await remove(kept, list(contents)[1:])
    await collector(kept).collect()
    entry = (await kept.state())["1-0"]
    blobs, get = kept.tools.blobs, kept.tools.blobs.get
    calls = 0

    async def get_late(name, spans):
        nonlocal calls
        calls += 1
        if calls == 1:
            blobs.get = get
            await collector(kept).sweep()
            await collector(kept).collect()
        return await get(name, spans)

    blobs.get = get_late
    assert await kept.content(entry) == contents["1-0"]
    assert calls == 1


async def test_a_pack_that_no_chunk_moved_into_is_removed_at_once(kept, monkeypatch):
    contents = await save(kept, 1)
    await remove(kept, list(contents)[1:])
    await collector(kept).collect()
    rival = collector(kept)
    put = kept.tools.blobs.put

    async def put_late(name, data):
        monkeypatch.setattr(kept.tools.blobs, "put", put)
        await rival.sweep()
        await put(name, data)

    monkeypatch.setattr(kept.tools.blobs, "put", put_late)
    await collector(kept).sweep()
    await collector(kept).collect()
    assert len(await kept.tools.blobs.listing(WORKSPACE)) == 1
    await is_kept(kept, {"1-0": contents["1-0"]})


async def test_saves_removals_and_reads_go_on_meanwhile(kept, monkeypatch):
    monkeypatch.setattr("cluster.archive.packs.compactor.WASTED_BYTES", 1)
    chance = random.Random(7)
    contents: dict[str, bytes] = {}
    done = asyncio.Event()

    async def compact() -> None:
        while not done.is_set():
            one, other = collector(kept), collector(kept)
            await asyncio.gather(one.sweep(), other.collect(), other.sweep())
            await asyncio.sleep(0)

    async def change() -> None:
        for seed in range(12):
            # Contents come again, whose chunks may be on the move or just forgotten.
            contents.update(await save(kept, seed % 4, count=6, size=40 * KIB))
            gone = chance.sample(sorted(contents), len(contents) // 2)
            await remove(kept, gone)
            for name in gone:
                del contents[name]
            state = await kept.state()
            for name in chance.sample(sorted(contents), 2):
                assert await kept.content(state[name]) == contents[name]
        done.set()

    await asyncio.gather(compact(), change())
    await collector(kept).collect()  # what the last change left may be kept until now
    await collector(kept).sweep()
    await collector(kept).collect()
    await is_kept(kept, contents)
    listed = await kept.tools.blobs.listing(WORKSPACE)
    for pack, live in (await kept.ask(chunks.live_packs, WORKSPACE)).items():
        assert live >= listed[pack].size / 2


async def test_a_damaged_chunk_stays_where_it_is(kept):
    contents = await save(kept, 1)
    await remove(kept, list(contents)[2:])
    await collector(kept).collect()
    assert isinstance(kept.tools.blobs, DirectoryBlobs)
    entry = (await kept.state())["1-0"]
    [place] = (await kept.ask(chunks.locations, WORKSPACE, [entry.chunks[0].name])).values()
    path = kept.tools.blobs._path(f"{WORKSPACE}/{place.pack}")
    data = bytearray(path.read_bytes())
    data[place.offset + 50] ^= 1
    path.write_bytes(data)
    await collector(kept).sweep()
    await collector(kept).collect()
    assert path.exists()
    state = await kept.state()
    assert await kept.content(state["1-1"]) == contents["1-1"]
    with pytest.raises(ContentMissing):
        await kept.content(state["1-0"])


async def test_a_truncated_pack_keeps_nothing_from_the_workspaces_behind_it(kept, monkeypatch):
    contents = await save(kept, 1)
    await remove(kept, list(contents)[:-1])
    await collector(kept).collect()
    blobs = kept.tools.blobs
    assert isinstance(blobs, DirectoryBlobs)
    [(pack, (_, size))] = (await blobs.listing(WORKSPACE)).items()
    os.truncate(blobs._path(f"{WORKSPACE}/{pack}"), size - 1)
    await blobs.put("w-behind/p-of-nobody", b"x")
    monkeypatch.setattr("cluster.archive.packs.collector.ORPHAN_SECONDS", -1.0)

    async def both(*_):
        return [WORKSPACE, "w-behind"]

    monkeypatch.setattr("cluster.store.layers.workspaces.retention.workspaces", both)
    sweeping = collector(kept)
    await sweeping.sweep()
    assert not await blobs.listing("w-behind")
    assert pack in await blobs.listing(WORKSPACE)
    stats = sweeping.stats()
    assert (stats["collector_failures_total"], stats["packs_swept_total"]) == (1, 1)
