"""A follower whose user has a quota: what is too much is held, reported, and archived once there is room."""

from __future__ import annotations

import pytest

from actors.core.errors.limits import QuotaExceeded
from actors.core.quotas import Quotas, Resource
from actors.core.records.archive import SaveAnswer
from cluster.archive import syncer
from cluster.archive.packs.collector import Collector
from cluster.archive.saving import quota_backlog
from cluster.store.layers import usage
from cluster.store.layers.workspaces import manifests
from tests.support.archive import kept_workspace, until_reported
from tests.support.codi_process import SESSION


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what is held looked for again soon."""
    monkeypatch.setattr(quota_backlog, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(syncer, "HELD_WAIT_SECONDS", 0.05)


@pytest.fixture
async def kept(tmp_path, stage):
    async with kept_workspace(tmp_path / "kept", stage) as made:
        yield made


async def set_quota(kept, **limits) -> None:
    async def work(tr, keys):
        tr.set(keys.users.key("u"), b"{}")
        await usage.override(tr, keys, "u", {Resource(n): limit for n, limit in limits.items()})

    await kept.ask(work)


async def test_what_is_too_much_is_held_and_reported_and_archived_once_there_is_room(
    tmp_path, stage
):
    async with (
        kept_workspace(tmp_path / "k", stage, quotas=Quotas(file_bytes=1000)) as kept,
        kept.following(),
    ):
        (kept.files / "first").write_bytes(b"1" * 600)
        await kept.until(lambda s: "first" in s)
        (kept.files / "d").mkdir()
        (kept.files / "d" / "large").write_bytes(b"2" * 700)
        (kept.files / "small").write_bytes(b"3" * 100)
        state = await kept.until(lambda s: {"d", "small"} <= set(s))
        reported = await until_reported(kept, lambda reported: reported is not None)
        assert (reported.resource, reported.paths, reported.size) == ("file_bytes", 1, 700)
        assert "d/large" not in state
        assert kept.counters.new_bytes < 700  # nothing of it is read, let alone stored
        with pytest.raises(QuotaExceeded):
            await kept.syncer.flush()

        (kept.files / "first").unlink()
        state = await kept.until(lambda s: "d/large" in s)
        assert "first" not in state
        assert await until_reported(kept, lambda reported: reported is None) is None
        await kept.syncer.flush()


async def test_a_raised_quota_lets_held_files_in_and_a_file_that_went_is_held_no_more(
    tmp_path, stage
):
    async with (
        kept_workspace(tmp_path / "k", stage, quotas=Quotas(files=2)) as kept,
        kept.following(),
    ):
        for name in ("a", "b", "c", "d"):
            (kept.files / name).write_bytes(b"x")
        reported = await until_reported(
            kept, lambda reported: reported is not None and reported.paths == 2
        )
        assert reported.resource == "files"
        held = {"a", "b", "c", "d"} - set(await kept.state())
        (kept.files / held.pop()).unlink()
        await until_reported(kept, lambda reported: reported is not None and reported.paths == 1)
        await set_quota(kept, files=3)
        await kept.until(lambda s: len(s) == 3)
        await until_reported(kept, lambda reported: reported is None)


async def test_a_save_beyond_the_quota_is_refused_and_what_is_there_may_be_rewritten(
    tmp_path, stage
):
    async with kept_workspace(tmp_path / "k", stage, quotas=Quotas(file_bytes=1000)) as kept:
        (kept.files / "a").write_bytes(b"1" * 900)
        assert (await kept.syncer.save([b"a"])).version == 1
        (kept.files / "b").write_bytes(b"2" * 101)
        with pytest.raises(QuotaExceeded) as refused:
            await kept.syncer.save([b"b"])
        assert (refused.value.used, refused.value.limit, refused.value.needed) == (900, 1000, 101)
        await set_quota(kept, file_bytes=500)
        (kept.files / "a").write_bytes(b"3" * 900)
        assert (await kept.syncer.save([b"a"])).version == 2
        (kept.files / "a").unlink()
        assert (await kept.syncer.save([b"a"])).version == 3
        assert (await kept.syncer.save([b"b"])).version == 4


@pytest.mark.parametrize("answered", [False, True])
async def test_what_is_held_may_be_deleted_though_its_directory_is_held_too(
    tmp_path, stage, answered
):
    async with kept_workspace(tmp_path / "k", stage, quotas=Quotas(files=1)) as kept:
        (kept.files / "a").write_bytes(b"1")
        await kept.syncer.save([b"a"])
        (kept.files / "d").mkdir()
        (kept.files / "d" / "x").write_bytes(b"2")
        with pytest.raises(QuotaExceeded):
            await kept.syncer.save([b"d/x"])
        (kept.files / "d" / "x").unlink()
        answer = SaveAnswer("key", "token", "d/x", 0, "etag", "digest") if answered else None
        await kept.syncer.save([b"d/x"], answer)
        assert set(await kept.state()) == {"a"}


async def test_a_file_that_grows_while_it_is_looked_at_is_held_and_its_neighbours_are_not(
    tmp_path, stage, monkeypatch
):
    async with kept_workspace(tmp_path / "k", stage, quotas=Quotas(file_bytes=1000)) as kept:
        syncer = kept.syncer
        take = syncer._versions._intake.take

        async def grown(route, paths):
            (kept.files / "grows").write_bytes(b"g" * 2000)
            return await take(route, paths)

        monkeypatch.setattr(syncer._versions._intake, "take", grown)
        (kept.files / "grows").write_bytes(b"g")
        (kept.files / "other").write_bytes(b"o")
        async with kept.following():
            state = await kept.until(lambda s: "other" in s)
            assert "grows" not in state
            await until_reported(
                kept, lambda reported: reported is not None and reported.size == 2000
            )


async def test_a_collector_counts_what_an_earlier_release_left_uncounted(kept):
    (kept.files / "a").write_bytes(b"1" * 900)
    await kept.syncer.save([b"a"])
    (kept.files / "b").write_bytes(b"2" * 50)
    await kept.syncer.save([b"b"])

    async def forget(tr, keys):
        head = await manifests.head(tr, keys, "w")
        tr.set(
            keys.manifests.key("w"),
            head.model_dump_json(exclude={"size", "files", "counts"}).encode(),
        )
        tr.set(keys.session_names.key("u", "n"), SESSION.encode())
        tr.clear_range(keys.usage.range())

    await kept.ask(forget)
    tools = kept.tools
    collector = Collector(
        tools.engine, tools.keys, tools.blobs, tools.clock,
        keep_seconds=1e9, keep_versions=1, new_id=tools.new_id,
    )  # fmt: skip
    await collector.count(every=False)
    head = await kept.head()
    assert (head.size, head.files, head.counts) == (950, 2, 1)
    found = await kept.ask(usage.of_user, "u", Quotas())
    assert found[Resource.FILE_BYTES].used == 950
    assert found[Resource.FILES].used == 2
    corrected = collector.stats()["counts_corrected_total"]
    await collector.count(every=True)
    assert collector.stats()["counts_corrected_total"] == corrected == 2
