"""A follower over a real CODI and a real store: whatever happens in the workspace is in the manifest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.sessions import Fenced
from actors.core.errors.store import StoreFull
from actors.core.records.archive import SaveAnswer
from cluster.archive.packs.collector import Collector
from cluster.archive.restoring import restorer
from cluster.archive.restoring.restorer import Restorer
from cluster.archive.saving import ingest as intake
from cluster.blobs import DirectoryBlobs
from cluster.codi.bundle import Limits
from cluster.store.layers.entries import Kind
from cluster.store.layers.workspaces import manifests, saves
from tests.support.archive import WORKSPACE, follower_of, kept_workspace, until_reported
from tests.support.waiting import wait_until

NO_UTF8 = b"caf\xe9".decode("utf-8", "surrogateescape")


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


@pytest.fixture
async def kept(tmp_path, stage):
    async with kept_workspace(tmp_path / "kept", stage) as made:
        yield made


async def test_what_was_there_before_is_taken_in(tmp_path, stage):
    def setup(files: Path):
        (files / "a" / "empty").mkdir(parents=True)
        (files / "a" / "b.txt").write_bytes(b"hello")
        (files / "a" / "b.txt").chmod(0o640)
        (files / "link").symlink_to("a/b.txt")
        (files / "nothing").touch()
        (files / NO_UTF8).write_bytes(b"x")
        (files / ".cache").mkdir()
        (files / ".cache" / "left-out").touch()

    limits = Limits(excludes=(".cache",))
    async with kept_workspace(tmp_path / "k", stage, setup=setup, limits=limits) as kept:
        async with kept.following():
            state = await kept.until(lambda s: len(s) >= 6)
        assert set(state) == {"a", "a/empty", "a/b.txt", "link", "nothing", NO_UTF8}
        assert state["a/b.txt"].mode == 0o640
        assert await kept.content(state["a/b.txt"]) == b"hello"
        assert state["link"].target == b"a/b.txt"
        assert state["a/empty"].kind is Kind.DIRECTORY


async def test_changes_follow_at_once(kept):
    async with kept.following():
        (kept.files / "one").write_bytes(b"1")
        await kept.until(lambda s: "one" in s)
        (kept.files / "new" / "deep").mkdir(parents=True)
        (kept.files / "new" / "deep" / "file").write_bytes(b"2")
        state = await kept.until(lambda s: "new/deep/file" in s)
        assert await kept.content(state["new/deep/file"]) == b"2"
        (kept.files / "new").rename(kept.files / "moved")
        state = await kept.until(lambda s: "moved/deep/file" in s and "new" not in s)
        assert "new/deep/file" not in state
        (kept.files / "moved" / "deep" / "file").write_bytes(b"three")
        await kept.until(lambda s: s["moved/deep/file"].size == 5)
        (kept.files / "one").chmod(0o700)
        await kept.until(lambda s: s["one"].mode == 0o700)
        shutil.rmtree(kept.files / "moved")
        await kept.until(lambda s: set(s) == {"one"})


async def test_a_file_that_became_a_directory_and_back(kept):
    async with kept.following():
        (kept.files / "x").write_bytes(b"file")
        await kept.until(lambda s: "x" in s)
        (kept.files / "x").unlink()
        (kept.files / "x").mkdir()
        (kept.files / "x" / "inner").write_bytes(b"i")
        await kept.until(lambda s: "x/inner" in s and s["x"].kind is Kind.DIRECTORY)
        shutil.rmtree(kept.files / "x")
        (kept.files / "x").write_bytes(b"again")
        state = await kept.until(lambda s: s.get("x") is not None and s["x"].kind is Kind.FILE)
        assert "x/inner" not in state


async def test_large_files_are_chunked_and_only_new_chunks_are_read(kept):
    data = random.Random(1).randbytes(20 << 20)
    async with kept.following():
        (kept.files / "big").write_bytes(data)
        state = await kept.until(lambda s: "big" in s and s["big"].size == len(data))
        assert await kept.content(state["big"]) == data
        stored = kept.counters.new_bytes
        changed = data[: 9 << 20] + b"inserted" + data[9 << 20 :]
        (kept.files / "big").write_bytes(changed)
        state = await kept.until(lambda s: s["big"].size == len(changed))
        assert await kept.content(state["big"]) == changed
        assert kept.counters.new_bytes - stored < 10 << 20


async def test_many_large_files_are_several_versions(kept, monkeypatch):
    monkeypatch.setattr(intake, "SLICE_BYTES", 1 << 20)
    contents = {f"big{n}": random.Random(n).randbytes(3 << 20) for n in range(6)}
    for name, data in contents.items():
        (kept.files / name).write_bytes(data)
    async with kept.following():
        state = await kept.until(lambda s: len(s) == 6)
    assert (await kept.head()).version >= 3
    for name, data in contents.items():
        assert await kept.content(state[name]) == data


async def test_a_file_of_too_many_chunks_is_left_out_and_the_others_are_kept(kept, monkeypatch):
    monkeypatch.setattr(intake, "MAX_CHUNKS", 5)
    (kept.files / "a").write_bytes(b"1")
    (kept.files / "huge").write_bytes(random.Random(1).randbytes(20 << 20))
    (kept.files / "z").write_bytes(b"2")
    async with kept.following():
        assert set(await kept.until(lambda s: len(s) == 2)) == {"a", "z"}
        reported = await until_reported(kept, lambda reported: reported is not None)
    assert [(left.path, left.reason) for left in reported.left_out] == [("huge", "too_large")]
    assert (reported.resource, reported.paths, reported.size) == (None, 1, 20 << 20)
    assert kept.counters.unreadable == 1


async def test_sparse_files_cost_nothing(kept):
    async with kept.following():
        with (kept.files / "sparse").open("wb") as file:
            file.truncate(200 << 20)
        await kept.until(lambda s: "sparse" in s and s["sparse"].size == 200 << 20)
        assert kept.counters.new_bytes < 1 << 20


async def test_a_save_is_durable_when_it_returns_even_without_a_follower(kept):
    (kept.files / "d").mkdir()
    (kept.files / "d" / "f").write_bytes(b"saved")
    version, _ = await kept.syncer.save([b"d/f"])
    state = await kept.state(version)
    assert set(state) == {"d", "d/f"}
    assert await kept.content(state["d/f"]) == b"saved"
    (kept.files / "d" / "f").unlink()
    later, _ = await kept.syncer.save([b"d/f"])
    assert set(await kept.state(later)) == {"d"}
    assert set(await kept.state(version)) == {"d", "d/f"}


async def test_a_save_of_what_a_round_has_kept_already_is_the_version_in_the_history(kept):
    answer = SaveAnswer("key", "token", "f", 5, "etag", "digest")
    async with kept.following():
        (kept.files / "f").write_bytes(b"saved")
        await kept.until(lambda s: "f" in s)
        version, _ = await kept.syncer.save([b"f"], answer)
    history = await kept.ask(manifests.history, WORKSPACE, b"f", before=None, limit=9)
    assert [state.version for state in history] == [version]
    assert (await kept.ask(saves.begin, "key", "another", "f", 0.0)).receipt == answer.receipt(
        version
    )
    (kept.files / "f").write_bytes(b"newer")
    assert (await kept.syncer.save([b"f"])).version > version


async def test_a_save_is_the_version_in_the_history_when_a_round_overtakes_it(kept):
    (kept.files / "f").write_bytes(b"saved")
    contents = kept.tools.client.contents
    rounds: list[int] = []

    async def overtaken(route, paths):
        async for each in contents(route, paths):
            yield each
        if not rounds:
            rounds.append(0)
            rounds[0] = (await kept.syncer.save([b"f"])).version

    kept.tools.client.contents = overtaken
    version, _ = await kept.syncer.save([b"f"])
    history = await kept.ask(manifests.history, WORKSPACE, b"f", before=None, limit=9)
    assert [state.version for state in history] == [version] == rounds


async def test_a_save_that_is_answered_again_hides_nothing_that_changed_since(kept):
    answer = SaveAnswer("key", "token", "f", 5, "etag", "digest")
    (kept.files / "f").write_bytes(b"saved")
    version, _ = await kept.syncer.save([b"f"], answer)
    await kept.syncer.save([b"f"])
    (kept.files / "g").write_bytes(b"other")
    await kept.syncer.save([b"g"])
    (kept.files / "f").write_bytes(b"newer")
    await kept.syncer.save([b"f"], answer)
    assert kept.syncer._known.head.version == (await kept.head()).version > version
    async with kept.following():
        state = await kept.until(lambda s: s["f"].size and s["f"].chunks)
        later = await kept.syncer.save([b"f"])
    assert await kept.content((await kept.state(later.version))["f"]) == b"newer"
    assert state.keys() == {"f", "g"}


async def test_a_follower_that_takes_over_misses_nothing(kept):
    async with kept.following():
        (kept.files / "a").write_bytes(b"1")
        await kept.until(lambda s: "a" in s)
    (kept.files / "b").write_bytes(b"2")
    (kept.files / "a").unlink()
    kept.syncer = follower_of(kept.tools, kept.codi, kept.counters)
    async with kept.following():
        await kept.until(lambda s: set(s) == {"b"})


async def test_what_is_made_anew_and_saved_after_it_was_reported_gone_stays_kept(kept):
    changes, saved = kept.tools.client.changes, []

    async def late(*arguments):
        answer = await changes(*arguments)
        if not saved and ["d"] in answer["items"]:
            (kept.files / "d").mkdir()
            (kept.files / "d" / "f").write_bytes(b"anew")
            saved.append((await kept.syncer.save([b"d/f"])).version)
        return answer

    kept.tools.client.changes = late
    async with kept.following():
        (kept.files / "d").mkdir()
        (kept.files / "d" / "f").write_bytes(b"old")
        await kept.until(lambda s: "d/f" in s)
        shutil.rmtree(kept.files / "d")
        await wait_until(lambda: asyncio.sleep(0, bool(saved)), pause_seconds=0.01)
        (kept.files / "last").touch()
        await kept.until(lambda s: "last" in s)
    for version in range(saved[0], (await kept.head()).version + 1):
        assert "d/f" in await kept.state(version)


async def test_a_directory_becomes_a_file_though_its_user_has_one_turn_left(kept):
    async with kept.following(), contextlib.AsyncExitStack() as stack:
        (kept.files / "x").mkdir()
        (kept.files / "x" / "inner").touch()
        await kept.until(lambda s: "x/inner" in s)
        for _ in range(3):
            await stack.enter_async_context(kept.tools.turns.turn("u"))
        (kept.files / "x").rename(kept.files.parent / "aside")
        (kept.files / "x").touch()
        await kept.until(lambda s: s["x"].kind is Kind.FILE)


async def test_a_rename_is_one_version(kept):
    async with kept.following():
        (kept.files / "old").write_bytes(b"1")
        await kept.until(lambda s: "old" in s)
        before = (await kept.head()).version
        async with no_rounds(kept):
            (kept.files / "old").rename(kept.files / "new")
        await kept.until(lambda s: "new" in s)
        assert set(await kept.state(before + 1)) == {"new"}


async def test_a_deletion_before_the_restore_is_planned_takes_nothing_else_with_it(tmp_path, stage):
    def setup(files: Path):
        (files / "d").mkdir()
        (files / "d" / "f").touch()
        (files / "d" / "g").touch()

    async with kept_workspace(tmp_path / "k", stage, setup=setup) as kept, kept.following():
        await kept.until(lambda s: len(s) == 3)
    async with kept_workspace(tmp_path / "k", stage, incarnation="i-2") as kept:
        with pytest.raises(Unavailable):
            await kept.syncer.save([b"d/f"], give_up=True)
        assert set(await kept.state()) == {"d", "d/f", "d/g"}


async def test_another_directory_is_filled_and_nothing_counts_as_deleted(tmp_path, stage):
    def setup(files: Path):
        for number in range(700):
            (files / f"d{number % 7}").mkdir(exist_ok=True)
            (files / f"d{number % 7}" / f"f{number}").write_bytes(b"%d" % number)
        (files / "big").write_bytes(random.Random(2).randbytes(5 << 20))
        (files / "run.sh").write_bytes(b"#!")
        (files / "run.sh").chmod(0o755)
        (files / "closed").mkdir()
        (files / "closed" / "in").write_bytes(b"in")
        (files / "closed").chmod(0o555)
        (files / "l").symlink_to("/nowhere")
        with (files / "hole").open("wb") as file:
            file.truncate(10 << 20)

    async with kept_workspace(tmp_path / "k", stage, setup=setup) as kept:
        async with kept.following():
            before = await kept.until(lambda s: len(s) == 700 + 7 + 6)
        first = kept.files
        # CODI of a test runs as root, whom the closed directory lets in.
    async with kept_workspace(tmp_path / "k", stage, incarnation="i-2") as kept:
        (kept.files / "d0").mkdir()
        (kept.files / "d0" / "f0").write_bytes(b"newer")
        assert not kept.syncer.whole
        async with kept.following():
            await wait_until(lambda: asyncio.sleep(0, kept.syncer.whole), pause_seconds=0.01)
            assert len(list(kept.files.rglob("f*"))) == 700
            await kept.until_complete("i-2")
            state = await kept.until(lambda s: s["d0/f0"].size == 5)
        assert state.keys() == before.keys()
        for path, entry in state.items():
            old, new = first / path, kept.files / path
            assert entry.kind is before[path].kind
            if path != "d0":
                assert entry.mode == before[path].mode, path
            if entry.kind is Kind.FILE and path != "d0/f0":
                assert new.read_bytes() == old.read_bytes()
                assert new.stat().st_mtime_ns == old.stat().st_mtime_ns
        assert os.readlink(kept.files / "l") == "/nowhere"
        assert (kept.files / "hole").stat().st_blocks < 100
        (kept.files / "d1" / "f1").unlink()
        async with kept.following():
            await kept.until(lambda s: "d1/f1" not in s)


@contextlib.asynccontextmanager
async def no_rounds(kept):
    """Let changes that are seen wait: all turns that a user may have are taken."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(kept.tools.turns.turn("u"))
        yield


async def test_a_save_is_one_version_also_while_somebody_follows(kept):
    async with kept.following():
        (kept.files / "first").touch()
        await kept.until(lambda s: "first" in s)
        before = (await kept.head()).version
        for number in range(5):
            async with no_rounds(kept):  # one that came first would have made a version too
                (kept.files / "f").write_bytes(b"%d" % number)
                await kept.syncer.save([b"f"])
        (kept.files / "last").touch()
        await kept.until(lambda s: "last" in s)
        assert (await kept.head()).version == before + 6


async def test_saves_and_rounds_at_once_end_with_what_is_there(kept):
    async with kept.following():
        await kept.until(lambda s: not s)
        for number in range(30):
            (kept.files / "f").write_bytes(b"x" * number)
            saving = asyncio.create_task(kept.syncer.save([b"f"]))
            (kept.files / "g").write_bytes(b"y" * number)
            await saving
        state = await kept.until(lambda s: s.get("g") is not None and s["g"].size == 29)
        assert await kept.content(state["f"]) == b"x" * 29


async def test_a_container_that_is_not_the_sessions_writes_nothing(kept):
    (kept.files / "f").write_bytes(b"1")
    await kept.syncer.save([b"f"])
    stranger = follower_of(kept.tools, kept.codi, kept.counters, container_id="c-0")
    (kept.files / "f").write_bytes(b"2")
    with pytest.raises(Fenced):
        await stranger.save([b"f"])
    assert await kept.content((await kept.state())["f"]) == b"1"


async def test_a_full_chunk_store_refuses_saves_and_recovers_by_itself(tmp_path, stage):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount_small_disk(disk, "4m")
    try:
        blobs = DirectoryBlobs(disk / "chunks")
        async with kept_workspace(tmp_path / "k", stage, blobs=blobs) as kept:
            small = random.Random(3).randbytes(1 << 20)
            (kept.files / "small").write_bytes(small)
            await kept.syncer.save([b"small"])
            (disk / "filler").write_bytes(bytes((2 << 20) + 900_000))
            large = random.Random(4).randbytes(2 << 20)
            (kept.files / "large").write_bytes(large)
            with pytest.raises(StoreFull):
                await kept.syncer.save([b"large"])
            state = await kept.state()
            assert set(state) == {"small"}
            assert await kept.content(state["small"]) == small
            (disk / "filler").unlink()
            await kept.syncer.save([b"large"])
            assert await kept.content((await kept.state())["large"]) == large
            assert not [name for name in os.listdir(disk / "chunks" / "w") if "draft" in name]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


async def test_versions_that_are_no_longer_kept_are_collected_with_their_packs(kept):
    contents = [random.Random(n).randbytes(100_000) for n in range(4)]
    for data in contents:
        (kept.files / "f").write_bytes(data)
        await kept.syncer.save([b"f"])
    packs = kept.tools.blobs
    assert len(await packs.listing("w")) == 4
    tools = kept.tools
    collector = Collector(
        tools.engine, tools.keys, packs, tools.clock,
        keep_seconds=0, keep_versions=1, new_id=tools.new_id,
    )  # fmt: skip
    await collector.collect()
    assert len(await packs.listing("w")) == 1
    assert await kept.content((await kept.state())["f"]) == contents[-1]
    (kept.files / "f").write_bytes(contents[0])
    await kept.syncer.save([b"f"])
    assert await kept.content((await kept.state())["f"]) == contents[0]


async def test_nothing_counts_as_deleted_before_the_restore_is_planned(
    tmp_path, stage, monkeypatch
):
    async with kept_workspace(tmp_path / "k", stage) as kept:
        (kept.files / "f").write_bytes(b"1")
        async with kept.following():
            await kept.until(lambda s: "f" in s)
    planned = Restorer.plan

    async def failing(*_):
        raise Unavailable("store", "for a moment")

    async with kept_workspace(tmp_path / "k", stage, incarnation="i-2") as kept:
        monkeypatch.setattr(Restorer, "plan", failing)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await kept.syncer.follow()
            with pytest.raises(Unavailable):
                await kept.syncer.flush()
        assert set(await kept.state()) == {"f"}
        monkeypatch.setattr(Restorer, "plan", planned)
        async with kept.following():
            await kept.until_complete("i-2")
        assert (kept.files / "f").read_bytes() == b"1"
        (kept.files / "g").write_bytes(b"2")
        await kept.syncer.flush()
        assert set(await kept.state()) == {"f", "g"}


async def test_what_cannot_be_put_back_is_not_deleted_and_is_tried_again(
    tmp_path, stage, monkeypatch
):
    monkeypatch.setattr(restorer, "RETRY_SECONDS", 0.1)
    contents = {f"f{number}": random.Random(number).randbytes(400_000) for number in range(8)}

    def setup(files: Path):
        for number, (name, data) in enumerate(contents.items()):
            (files / name).write_bytes(data)
            os.utime(files / name, ns=(number, number))

    async with kept_workspace(tmp_path / "k", stage, setup=setup) as kept, kept.following():
        await kept.until(lambda s: len(s) == 8)

    def small(files: Path):
        mount_small_disk(files, "2m")

    workspace = tmp_path / "k" / "box-i-2" / "workspace"
    try:
        async with kept_workspace(tmp_path / "k", stage, incarnation="i-2", setup=small) as kept:
            async with kept.following():
                # Tried twice, so that every mark of the first time has been looked at.
                async def tried_twice() -> bool:
                    (kept.files / "touched").touch()
                    return kept.syncer.restoring in range(1, 8) and kept.counters.rounds >= 3

                await wait_until(tried_twice)
                state = await kept.state()
                assert set(state) >= set(contents)
                assert (await kept.head()).incarnation == "i-1"
                # What was used last is there.
                assert (kept.files / "f7").read_bytes() == contents["f7"]
                subprocess.run(["mount", "-o", "remount,size=8m", str(kept.files)], check=True)
                await kept.until_complete("i-2")
            for name, data in contents.items():
                assert (kept.files / name).read_bytes() == data
            assert set(await kept.state()) == {*contents, "touched"}
    finally:
        subprocess.run(["umount", "-l", str(workspace)], check=False)


async def test_a_directory_counts_as_complete_once_it_is_on_the_disk(tmp_path, stage, monkeypatch):
    async with kept_workspace(tmp_path / "k", stage) as kept:
        (kept.files / "f").write_bytes(b"1")
        async with kept.following():
            await kept.until(lambda s: "f" in s)
    async with kept_workspace(tmp_path / "k", stage, incarnation="i-2") as kept:
        syncing, synced = asyncio.Event(), asyncio.Event()
        restore = kept.tools.client.restore

        async def held(route, records):
            parts = [part async for part in records]
            if b'"kind":"s"' in b"".join(parts):
                syncing.set()
                await synced.wait()

            async def again():
                for part in parts:
                    yield part

            return await restore(route, again())

        monkeypatch.setattr(kept.tools.client, "restore", held)
        async with kept.following():
            async with asyncio.timeout(60):
                await syncing.wait()
            assert (kept.files / "f").read_bytes() == b"1"
            # Changes are kept meanwhile.
            (kept.files / "g").write_bytes(b"2")
            await kept.until(lambda s: "g" in s)
            assert (await kept.head()).incarnation == "i-1"
            synced.set()
            await kept.until_complete("i-2")


async def test_a_program_that_writes_during_a_restore_keeps_what_it_wrote(tmp_path, stage):
    names = [f"d{number % 20}/f{number}" for number in range(2500)]

    def setup(files: Path):
        for name in names:
            (files / name).parent.mkdir(exist_ok=True)
            (files / name).write_bytes(b"old")

    async with kept_workspace(tmp_path / "k", stage, setup=setup) as kept, kept.following():
        await kept.until(lambda s: len(s) == 2520)
    newer = random.Random(5).sample(names, 300)
    async with kept_workspace(tmp_path / "k", stage, incarnation="i-2") as kept:

        def program() -> None:
            for number, name in enumerate(newer):
                path = kept.files / name
                path.parent.mkdir(exist_ok=True)
                path.with_name(f"draft{number}").write_bytes(b"newer")
                path.with_name(f"draft{number}").rename(path)

        async with kept.following():
            await asyncio.to_thread(program)
            await kept.until_complete("i-2")
            state = await kept.until(lambda s: all(s[name].size == 5 for name in newer))
        assert len(state) == 2520
        for name in names:
            expected = b"newer" if name in newer else b"old"
            assert (kept.files / name).read_bytes() == expected, name


def mount_small_disk(directory: Path, size: str) -> None:
    """Mount a tmpfs; whoever calls it unmounts it. Skips the test where that is not allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs root to mount a small disk")
