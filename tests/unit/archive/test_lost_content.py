"""A pack that is gone, cut short or damaged takes with it what lies in it, and nothing else."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from actors.core.errors.workspaces import ContentMissing
from cluster.archive.restoring import restorer
from cluster.archive.restoring.versions import VersionReader
from cluster.store.layers import usage
from cluster.store.layers.workspaces import chunks
from cluster.store.layers.workspaces.chunks import Packed
from tests.support.archive import WORKSPACE, kept_workspace
from tests.support.codi_process import SESSION
from tests.support.waiting import wait_until

CONTENTS = {
    "one": random.Random(1).randbytes(90_000),
    "two": random.Random(2).randbytes(600_000),
    "three": random.Random(3).randbytes(2_800_000),
    "four": b"small enough for the store",
    "d/five": random.Random(5).randbytes(10 << 20),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(restorer, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(restorer, "LONGEST_RETRY_SECONDS", 0.1)


async def keep(directory: Path, stage: Path) -> dict[str, list[Path]]:
    """Keep the files, each by a save of its own, and return the packs of each."""
    async with kept_workspace(directory, stage) as kept:
        packs: dict[str, list[Path]] = {}
        for name, data in CONTENTS.items():
            (kept.files / name).parent.mkdir(exist_ok=True)
            (kept.files / name).write_bytes(data)
            await kept.syncer.save([name.encode()])
        (kept.files / "d").chmod(0o555)
        await kept.syncer.save([b"d"])
        for name, entry in (await kept.state()).items():
            wanted = [chunk.name for chunk in entry.chunks]
            places = (await kept.ask(chunks.locations, WORKSPACE, wanted)).values()
            names = {place.pack for place in places if isinstance(place, Packed)}
            packs[name] = [directory / "chunks" / WORKSPACE / pack for pack in sorted(names)]
    return packs


def cut_short(pack: Path) -> None:
    with pack.open("r+b") as file:
        file.truncate(1000)


def damage(pack: Path) -> None:
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.write_bytes(data)


async def unrestored(kept):
    return await kept.ask(usage.unrestored, SESSION)


async def until_lost(kept, *names: str) -> None:
    def named(found):
        return found is not None and {each.path for each in found.left_out} == set(names)

    found = await wait_until(lambda: unrestored(kept), named)
    assert {each.reason.value for each in found.left_out} == {"content_missing"}
    assert found.paths == len(names)


@pytest.mark.parametrize(
    ("lost", "harm"),
    [("one", Path.unlink), ("three", cut_short), ("d/five", Path.unlink), ("d/five", damage)],
)
async def test_all_the_rest_is_put_back_and_what_is_lost_when_it_is_there_again(
    tmp_path, stage, often, lost, harm
):
    packs = await keep(tmp_path / "k", stage)
    pack = packs[lost][-1]
    whole = pack.read_bytes()
    harm(pack)
    async with (
        kept_workspace(tmp_path / "k", stage, incarnation="i-2") as kept,
        kept.following(),
    ):
        await until_lost(kept, lost)
        await wait_until(lambda: asyncio.sleep(0, kept.syncer.restoring), lambda count: count <= 1)
        for name, data in CONTENTS.items():
            if name != lost:
                assert (kept.files / name).read_bytes() == data
        assert not (kept.files / lost).exists()
        (kept.files / "new").write_bytes(b"work goes on")
        state = await kept.until(lambda s: "new" in s)
        assert set(state) == {*CONTENTS, "d", "new"}  # what is lost is not deleted
        assert (await kept.head()).incarnation != "i-2"
        pack.write_bytes(whole)
        await kept.until_complete("i-2")
        assert (kept.files / lost).read_bytes() == CONTENTS[lost]
        assert (kept.files / "d").stat().st_mode & 0o777 == 0o555
        await wait_until(lambda: unrestored(kept), lambda found: found is None)


async def test_what_is_lost_can_be_given_up_or_written_anew(tmp_path, stage, often):
    packs = await keep(tmp_path / "k", stage)
    for name in ("one", "two"):
        packs[name][0].unlink()
    async with (
        kept_workspace(tmp_path / "k", stage, incarnation="i-2") as kept,
        kept.following(),
    ):
        await until_lost(kept, "one", "two")
        await kept.syncer.save([b"one"])  # as the API does for a deletion
        (kept.files / "two").write_bytes(b"anew")
        await kept.until_complete("i-2")
        state = await kept.state()
        assert "one" not in state
        assert await kept.content(state["two"]) == b"anew"


@pytest.mark.parametrize("harm", [Path.unlink, cut_short, damage])
async def test_a_version_that_cannot_be_read_is_an_error_before_its_first_byte(
    tmp_path, stage, harm
):
    packs = await keep(tmp_path / "k", stage)
    for name in ("one", "three", "d/five"):
        harm(packs[name][0])
    async with kept_workspace(tmp_path / "k", stage, incarnation="i-2") as kept:
        library = VersionReader(kept.tools.engine, "t", kept.tools.blobs)
        state = await kept.state()
        for name, data in CONTENTS.items():
            if name in {"one", "three", "d/five"}:
                if (name, harm) == ("d/five", damage):
                    continue  # its last byte is far behind the first
                with pytest.raises(ContentMissing, match=name):
                    await library.content(WORKSPACE, name, state[name])
            else:
                content = await library.content(WORKSPACE, name, state[name])
                assert b"".join([part async for part in content]) == data


async def test_damage_behind_the_beginning_ends_the_content_with_an_error(tmp_path, stage):
    packs = await keep(tmp_path / "k", stage)
    damage(packs["d/five"][-1])
    async with kept_workspace(tmp_path / "k", stage, incarnation="i-2") as kept:
        library = VersionReader(kept.tools.engine, "t", kept.tools.blobs)
        entry = (await kept.state())["d/five"]
        content = await library.content(WORKSPACE, "d/five", entry)
        with pytest.raises(ContentMissing):
            [part async for part in content]


async def test_a_path_that_should_be_there_is_reported_from_one_that_never_was(
    tmp_path, stage, often
):
    packs = await keep(tmp_path / "k", stage)
    packs["one"][0].unlink()
    async with kept_workspace(tmp_path / "k", stage, incarnation="i-2") as kept:
        library = VersionReader(kept.tools.engine, "t", kept.tools.blobs)
        # From the first moment on, whatever has been looked at by then.
        expected = await library.expected(SESSION, "one")
        assert expected is not None
        assert expected.incarnation != "i-2"
        assert expected.missing.path == "one"
        assert expected.missing.retry_after_seconds < 10
        async with kept.following():
            await until_lost(kept, "one")
            expected = await library.expected(SESSION, "one")
            assert expected is not None
            assert expected.incarnation != "i-2"
            assert "chunk store" in str(expected.missing)
            assert expected.missing.retry_after_seconds > 30
            assert await library.expected(SESSION, "never") is None
            assert await library.expected("s-other", "one") is None


async def test_a_directory_is_given_up_with_what_is_lost_below_it(tmp_path, stage, often):
    packs = await keep(tmp_path / "k", stage)
    packs["d/five"][-1].unlink()
    async with (
        kept_workspace(tmp_path / "k", stage, incarnation="i-2") as kept,
        kept.following(),
    ):
        await until_lost(kept, "d/five")
        (kept.files / "d").rmdir()
        await kept.syncer.save([b"d"], give_up=True)
        await kept.until_complete("i-2")
        assert not {"d", "d/five"} & set(await kept.state())
        assert not (kept.files / "d").exists()
