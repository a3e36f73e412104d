"""A syncer's view of its manifest, while several work on it."""

from __future__ import annotations

import asyncio

import pytest

from cluster.store.layers.entries import Entry, Kind
from cluster.store.layers.workspaces import manifests
from tests.support.archive import kept_workspace


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


async def test_a_head_that_is_read_anew_does_not_replace_a_newer_one(tmp_path, stage, monkeypatch):
    read, go_on = asyncio.Event(), asyncio.Event()
    really = manifests.head

    async def slow(*arguments):
        """Return the head as it was some time ago, as a reader that is slow to hear of it has it."""
        head = await really(*arguments)
        if asyncio.current_task() is opening:
            read.set()
            await go_on.wait()
        return head

    async with kept_workspace(tmp_path / "k", stage) as kept:
        known = kept.syncer._known
        (kept.files / "f").write_bytes(b"1")
        await kept.syncer.save([b"f"])
        monkeypatch.setattr(manifests, "head", slow)
        opening = asyncio.create_task(known.open(fresh=True))
        await read.wait()
        committing = asyncio.create_task(commit(known))
        await asyncio.wait((committing,), timeout=0.5)  # it may have to wait for the reading
        go_on.set()
        async with asyncio.timeout(20):
            await asyncio.gather(opening, committing)
        assert known.head.version == (await kept.head()).version == 2


async def commit(known) -> None:
    with known.look() as look:
        await known.commit({b"link": Entry(Kind.LINK, target=b"f")}, {}, look)
