"""Large files wait for nobody's small ones, nor the other way round; holes cost nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random

import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import NotFound
from actors.core.quotas import Quotas, Resource
from cluster.archive.saving import ingest as intake
from cluster.archive.saving import large_files
from cluster.archive.saving.large_files import LargeFiles
from cluster.archive.saving.round_plan import Taken
from cluster.store.layers import usage
from cluster.store.layers.entries import GONE, HOLE, Entry, Kind
from tests.support.archive import kept_workspace, until_reported
from tests.support.waiting import wait_until

GIB = 1 << 30


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


@pytest.fixture
async def kept(tmp_path, stage):
    async with kept_workspace(tmp_path / "kept", stage) as made:
        yield made


def sparse(path, size: int, data: dict[int, bytes]) -> None:
    with path.open("wb") as file:
        for offset, part in data.items():
            file.seek(offset)
            file.write(part)
        file.truncate(size)


async def used(kept) -> int:
    return (await kept.ask(usage.of_user, "u", Quotas()))[Resource.FILE_BYTES].used


async def test_small_changes_are_kept_while_a_large_file_waits_for_its_turn(kept):
    async with kept.following():
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(kept.tools.large_turns.turn("u"))
            (kept.files / "large").write_bytes(random.Random(1).randbytes(3 << 20))
            (kept.files / "small").write_bytes(b"1")
            await kept.until(lambda s: "small" in s)
            (kept.files / "small").write_bytes(b"22")
            (kept.files / "d").mkdir()
            (kept.files / "d" / "other").write_bytes(b"3")
            state = await kept.until(lambda s: s["small"].size == 2 and "d/other" in s)
            assert "large" not in state
            flushing = asyncio.create_task(kept.syncer.flush())
            await asyncio.sleep(0)
            assert not flushing.done()
        await flushing
        assert (await kept.state())["large"].size == 3 << 20


async def test_a_file_is_read_piece_by_piece_and_others_have_their_turn_between(kept, monkeypatch):
    monkeypatch.setattr(intake, "SLICE_BYTES", 4 << 20)
    monkeypatch.setattr(large_files, "SLICE_BYTES", 4 << 20)
    taken: list[str] = []
    cut = kept.tools.client.cut
    data = random.Random(2).randbytes(30 << 20)

    async def noted(route, path, *rest):
        taken.append(path)
        if len(taken) == 3:
            (kept.files / "later").write_bytes(data[: 1 << 20])
            large = kept.syncer._versions.large
            await wait_until(lambda: asyncio.sleep(0, b"later" in large.paths), pause_seconds=0)
        return await cut(route, path, *rest)

    monkeypatch.setattr(kept.tools.client, "cut", noted)
    (kept.files / "large").write_bytes(data)
    async with kept.following():
        state = await kept.until(lambda s: {"large", "later"} <= set(s))
    assert taken.index("later") == 3  # between two pieces of the other one
    assert taken.count("large") >= 6
    assert await kept.content(state["large"]) == data


async def test_holes_are_neither_read_nor_counted_and_come_back_as_holes(tmp_path, stage):
    parts = {1 * GIB: random.Random(3).randbytes(700_000), 3 * GIB: b"end of it"}
    async with (
        kept_workspace(tmp_path / "k", stage, quotas=Quotas(file_bytes=1 << 22)) as kept,
        kept.following(),
    ):
        sparse(kept.files / "disk.img", 4 * GIB, parts)
        sparse(kept.files / "nothing.img", 2 * GIB, {})
        state = await kept.until(lambda s: {"disk.img", "nothing.img"} <= set(s))
        assert kept.counters.read_bytes < 8 << 20
        assert await used(kept) < 4 << 20
        assert {chunk.name for chunk in state["nothing.img"].chunks} == {HOLE}
        # Only what is data is read again, and of that only what is new.
        before = kept.counters.new_bytes
        with (kept.files / "disk.img").open("r+b") as file:
            file.seek(2 * GIB)
            file.write(b"in the middle")
        size = state["disk.img"].modified_ns
        await kept.until(lambda s: s["disk.img"].modified_ns != size)
        assert kept.counters.new_bytes - before < 1 << 20
    async with kept_workspace(tmp_path / "k", stage, incarnation="i-2") as kept:
        async with kept.following():
            await kept.until_complete("i-2")
        for name, size in {"disk.img": 4 * GIB, "nothing.img": 2 * GIB}.items():
            status = (kept.files / name).stat()
            assert status.st_size == size
            assert status.st_blocks * 512 < 8 << 20
        with (kept.files / "disk.img").open("rb") as file:
            for offset, part in (parts | {2 * GIB: b"in the middle"}).items():
                file.seek(offset)
                assert file.read(len(part)) == part
            file.seek(GIB - 100)
            assert file.read(100) == bytes(100)


async def test_a_save_of_a_large_file_is_durable_when_it_returns(kept):
    data = random.Random(4).randbytes(9 << 20)
    (kept.files / "f").write_bytes(data)
    version, without = await kept.syncer.save([b"f"])
    assert without == {}
    assert await kept.content((await kept.state(version))["f"]) == data


async def test_a_large_file_above_the_quota_is_held_and_not_read(tmp_path, stage):
    async with (
        kept_workspace(tmp_path / "k", stage, quotas=Quotas(file_bytes=1 << 20)) as kept,
        kept.following(),
    ):
        (kept.files / "large").write_bytes(os.urandom(3 << 20))
        reported = await until_reported(kept, lambda reported: reported is not None)
        assert (reported.resource, reported.paths, reported.size) == ("file_bytes", 1, 3 << 20)
        assert kept.counters.read_bytes == 0


async def test_a_file_that_becomes_smaller_or_another_while_it_is_read_is_read_anew(
    kept, monkeypatch
):
    monkeypatch.setattr(intake, "SLICE_BYTES", 1 << 20)
    cut, done = kept.tools.client.cut, []

    async def changing(route, path, *rest):
        piece = await cut(route, path, *rest)
        if not done:
            done.append(path)
            (kept.files / "new").write_bytes(b"n" * (5 << 20))
            (kept.files / "new").rename(kept.files / "f")
        elif len(done) == 1:
            done.append(path)
            os.truncate(kept.files / "f", 2 << 20)
        return piece

    monkeypatch.setattr(kept.tools.client, "cut", changing)
    (kept.files / "f").write_bytes(random.Random(5).randbytes(6 << 20))
    async with kept.following():
        state = await kept.until(lambda s: "f" in s and s["f"].size == 2 << 20)
    assert await kept.content(state["f"]) == b"n" * (2 << 20)


# ---- the lines --------------------------------------------------------------------------------------


def file_of(size: int) -> Entry:
    return Entry(Kind.FILE, size=size)


async def run_until(files: LargeFiles, condition) -> None:
    running = asyncio.create_task(files.run())
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it has no event of its own
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await files.close()


async def test_a_file_of_one_piece_does_not_wait_for_one_of_many():
    read: list[set[bytes]] = []
    never = asyncio.Event()

    async def reading(some):
        read.append(set(some))
        if b"long" in some:
            await never.wait()

    files = LargeFiles(reading)
    await files.add({b"long": file_of(10 * GIB), b"a": file_of(1 << 20), b"b": file_of(1 << 20)})
    assert files.paths == {b"long", b"a", b"b"}
    await run_until(files, lambda: len(read) == 2)
    assert {b"a", b"b"} in read


async def test_who_waits_is_reported_when_the_following_ends(monkeypatch):
    never = asyncio.Event()

    async def reading(_):
        await never.wait()

    files = LargeFiles(reading)
    await files.add({b"a": file_of(1)})
    waiting = asyncio.create_task(files.done())
    await run_until(files, lambda: files._under_way)
    with pytest.raises(Unavailable):
        await waiting


async def test_who_waits_does_not_wait_for_what_is_added_again():
    began, go_on = asyncio.Event(), asyncio.Event()

    async def reading(some):
        began.set()
        await go_on.wait()
        await asyncio.sleep(0)
        await files.add({path: file_of(1) for path in some})  # a program writes to it all the time

    files = LargeFiles(reading)
    await files.done()
    await files.add({b"a": file_of(1)})
    running = asyncio.create_task(files.run())
    await began.wait()
    waiting = asyncio.create_task(files.done())
    await asyncio.sleep(0)
    assert not waiting.done()
    go_on.set()
    async with asyncio.timeout(60):
        await waiting
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await files.close()


async def test_more_than_can_wait_are_looked_for_again(monkeypatch):
    monkeypatch.setattr("cluster.archive.saving.large_files.MAX_WAITING", 2)

    async def reading(_):
        pass

    files = LargeFiles(reading)
    await files.add({b"%d" % number: file_of(1) for number in range(3)})
    assert files.missed
    assert len(files.paths) == 2
    await files.add({b"0": file_of(GIB)})  # it has grown, and is in one line only
    assert len(files.paths) == 2


async def test_files_that_are_read_in_vain_at_every_walk_leave_places_to_the_others(monkeypatch):
    monkeypatch.setattr("cluster.archive.saving.large_files.MAX_WAITING", 2)
    read: set[bytes] = set()

    async def reading(some):
        read.update(some)

    files = LargeFiles(reading)
    in_vain, other = [b"0", b"1"], b"2"
    running = asyncio.create_task(files.run())
    for _ in range(3):
        files.begin_walk()
        missed = await files.add({path: file_of(1) for path in [*in_vain, other]})
        assert files.missed is bool(missed)
        await files.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await files.close()
    assert other in read


async def test_a_large_file_whose_place_something_else_has_taken_is_not_gone(tmp_path, stage):
    async with kept_workspace(tmp_path / "k", stage) as kept:
        for name in ("directory", "small", "large"):
            (kept.files / name).write_bytes(b"x" * (1 << 20))
        client, intake_ = kept.tools.client, kept.syncer._versions._intake

        async def late(*arguments):
            """Answer as for files that are not there for a moment."""
            raise NotFound("file", arguments[1])

        (kept.files / "directory").unlink()
        (kept.files / "directory").mkdir()
        (kept.files / "small").write_bytes(b"1")
        taken = Taken()
        with pytest.MonkeyPatch.context() as patch:
            for name in (b"directory", b"small", b"large", b"none"):
                if name != b"directory":
                    patch.setattr(client, "cut", late)
                await intake_.read_large(kept.codi.route(), name, taken, contextlib.nullcontext)
        assert taken.entries[b"directory"].kind is Kind.DIRECTORY
        assert taken.entries[b"small"].size == 1
        assert taken.entries[b"none"] is GONE
        assert (taken.unsteady, taken.large) == ([b"large"], {})
