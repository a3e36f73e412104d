"""A store belongs to one server and one chunk store; what else comes is refused with a remedy."""

from __future__ import annotations

import shutil

import pytest

from actors.core.errors.base import Unavailable
from cluster import belonging
from cluster.belonging import Misplaced, Own, check
from cluster.blobs import BucketBlobs, DirectoryBlobs
from cluster.doctor import probe as doctor
from cluster.doctor.checks import Verdict
from cluster.settings import Settings
from cluster.store.layers.keyspace import Keyspace
from tests.fakes.engines import opened_engine

KEYS = Keyspace("t")


def own(name: str, *, adopts: bool = False) -> Own:
    return Own(f"d-{name}", f"/data/{name}", f"/chunks/{name}", f"host-{name}", adopts)


def bucket(_):
    memory = pytest.importorskip("obstore.store").MemoryStore()
    return BucketBlobs("memory:///", memory)


@pytest.fixture(params=["directory", "bucket"])
def places(request, tmp_path):
    """Return what makes chunk stores."""
    if request.param == "bucket":
        return bucket
    return lambda name: DirectoryBlobs(tmp_path / name)


@pytest.fixture(params=["lmdb", "fdb_double"])
async def engine(request, tmp_path):
    async with opened_engine(request.param, tmp_path / "engine") as made:
        yield made


async def test_the_first_server_has_it_and_is_let_in_again(engine, places):
    chunks = places("a")
    for _ in range(2):
        await check(engine, KEYS, chunks, own("a"), claim=True)
    await check(engine, KEYS, chunks, own("a"), claim=False)


async def test_another_chunk_store_is_refused_and_the_right_one_named(engine, places):
    await check(engine, KEYS, places("a"), own("a"), claim=True)
    other = places("b")
    for claim in (True, False):
        with pytest.raises(Misplaced) as refused:
            await check(engine, KEYS, other, own("a"), claim=claim)
        assert "/chunks/a" in refused.value.what
        assert "chunk_store" in refused.value.advice
    # One that is another store's already as well, and so does not become this one's.
    await check(engine, Keyspace("other"), other, own("b"), claim=True)
    with pytest.raises(Misplaced):
        await check(engine, KEYS, other, own("a"), claim=True)


async def test_another_data_directory_is_refused_though_it_has_the_chunk_store(engine, places):
    chunks = places("a")
    await check(engine, KEYS, chunks, own("a"), claim=True)
    with pytest.raises(Misplaced) as refused:
        await check(engine, KEYS, chunks, own("b"), claim=True)
    assert "/data/a on host-a" in refused.value.what
    assert "/data/b/adopt-store" in refused.value.advice
    await check(engine, KEYS, chunks, own("a"), claim=True)


async def test_who_is_to_take_it_over_does_and_the_one_before_is_refused(engine, places):
    await check(engine, KEYS, places("a"), own("a"), claim=True)
    chunks = places("b")
    await check(engine, KEYS, chunks, own("b", adopts=True), claim=True)
    await check(engine, KEYS, chunks, own("b"), claim=True)
    with pytest.raises(Misplaced):
        await check(engine, KEYS, chunks, own("a"), claim=True)


async def test_looking_writes_nothing(engine, places):
    chunks = places("a")
    await check(engine, KEYS, chunks, own("a"), claim=False)
    await check(engine, KEYS, chunks, own("b"), claim=True)


# ---- a data directory -------------------------------------------------------------------------------


def test_a_data_directory_that_is_moved_is_the_same_and_one_with_other_chunks_is_not(tmp_path):
    settings = Settings(data_dir=tmp_path / "a")
    (tmp_path / "a").mkdir()
    assert doctor.store_check(settings).verdict is Verdict.OK
    assert belonging.refusal(settings, claim=True) is None
    shutil.move(tmp_path / "a", tmp_path / "b")
    moved = Settings(data_dir=tmp_path / "b")
    assert belonging.refusal(moved, claim=True) is None
    assert doctor.store_check(moved).verdict is Verdict.OK
    elsewhere = moved.model_copy(update={"chunk_store": str(tmp_path / "chunks")})
    assert "chunk store" in (belonging.refusal(elsewhere, claim=True) or "")
    found = doctor.store_check(elsewhere)
    assert found.verdict is Verdict.ERROR
    assert "adopt-store" in found.advice
    # The contents are moved as well: the setting follows them.
    shutil.move(tmp_path / "b" / "chunks", tmp_path / "chunks")
    assert belonging.refusal(elsewhere, claim=True) is None
    assert belonging.refusal(moved, claim=True) is not None
    belonging.adopt(moved.data_dir)
    assert belonging.refusal(moved, claim=True) is None
    assert not (moved.data_dir / belonging.ADOPT_FILE).exists()
    assert belonging.refusal(elsewhere, claim=True) is not None


def test_a_chunk_store_whose_name_is_damaged_is_not_taken_for_another(tmp_path):
    settings = Settings(data_dir=tmp_path)
    assert belonging.refusal(settings, claim=True) is None
    (tmp_path / "chunks" / "identity" / "chunk-store").write_bytes(b"{")
    with pytest.raises(Unavailable):
        belonging.refusal(settings, claim=True)
