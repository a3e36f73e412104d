"""The contract of places for packs: a directory, and a bucket as obstore sees it."""

from __future__ import annotations

import asyncio
import os

import pytest
from obstore.store import MemoryStore

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import InvalidArgument, NotFound
from cluster.blobs import BucketBlobs, DirectoryBlobs, open_blobs


@pytest.fixture(params=["directory", "bucket"])
def blobs(request, tmp_path):
    if request.param == "directory":
        return DirectoryBlobs(tmp_path / "a" / "b")
    return BucketBlobs("memory:///", MemoryStore())


async def test_what_was_put_is_got_in_parts(blobs):
    await blobs.put("w/p-1", b"0123456789")
    assert await blobs.get("w/p-1", [(0, 3), (8, 2), (3, 5)]) == [b"012", b"89", b"34567"]


async def test_what_is_not_there_is_reported(blobs):
    with pytest.raises(NotFound):
        await blobs.get("w/none", [(0, 1)])
    await blobs.delete("w/none")
    assert await blobs.listing("w") == {}
    await blobs.delete_group("w")


async def test_groups_are_apart(blobs):
    for name in ("w/a", "w/b", "w2/c"):
        await blobs.put(name, b"x")
    assert set(await blobs.listing("w")) == {"a", "b"}
    assert all(age < 60 and size == 1 for age, size in (await blobs.listing("w")).values())
    await blobs.delete("w/a")
    assert set(await blobs.listing("w")) == {"b"}
    await blobs.delete_group("w")
    assert await blobs.listing("w") == {}
    assert set(await blobs.listing("w2")) == {"c"}


async def test_many_at_once(blobs):
    await asyncio.gather(*(blobs.put(f"w/p-{n}", b"%d" % n) for n in range(50)))
    found = await asyncio.gather(*(blobs.get(f"w/p-{n}", [(0, 1)]) for n in range(10)))
    assert found == [[b"%d" % n] for n in range(10)]


@pytest.mark.parametrize("name", ["../x", "w", "w/../x", "/etc/x", "w/x/y", "w/", ".w/x"])
async def test_names_cannot_lead_out(blobs, name):
    with pytest.raises(InvalidArgument):
        await blobs.put(name, b"x")


async def test_a_pack_that_lost_its_end_is_not_taken_for_whole(tmp_path):
    blobs = DirectoryBlobs(tmp_path)
    await blobs.put("w/p", b"0123456789")
    os.truncate(tmp_path / "w" / "p", 4)
    with pytest.raises(Unavailable):
        await blobs.get("w/p", [(2, 5)])


async def test_content_is_on_disk_before_its_name_and_its_name_before_the_answer(
    tmp_path, monkeypatch
):
    done: list[str] = []
    for call in ("fsync", "replace"):
        real = getattr(os, call)

        def noted(*arguments, _call=call, _real=real):
            kind = ""
            if _call == "fsync":
                kind = "directory" if os.path.isdir(f"/proc/self/fd/{arguments[0]}") else "file"
            done.append(f"{_call} {kind}".strip())
            return _real(*arguments)

        monkeypatch.setattr(os, call, noted)
    blobs = DirectoryBlobs(tmp_path)
    (tmp_path / "w").mkdir()
    await blobs.put("w/p", b"x")
    assert done == ["fsync file", "replace", "fsync directory"]


def test_a_place_that_cannot_be_one_is_refused():
    with pytest.raises(InvalidArgument):
        open_blobs("ftp://somewhere/else")
