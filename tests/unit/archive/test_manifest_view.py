"""A syncer's view of its manifest, while several work on it."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from actors.core.errors.base import DeadlineExceeded
from cluster.archive.restoring.restorer import PutBack
from cluster.archive.restoring.workspace_restore import WorkspaceRestore
from cluster.store.layers.entries import GONE, Entry, Kind
from cluster.store.layers.workspaces import manifests
from tests.support.archive import kept_workspace

FILE, DIRECTORY = Entry(Kind.FILE, changed_ns=1), Entry(Kind.DIRECTORY, 0o755)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


@pytest.fixture
async def kept(tmp_path, stage):
    async with kept_workspace(tmp_path / "k", stage) as made:
        yield made


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
        async with asyncio.timeout(60):
            await asyncio.gather(opening, committing)
        assert known.head.version == (await kept.head()).version == 2


async def test_what_is_seen_to_be_as_it_was_is_overruled_by_no_look_that_began_before(kept):
    """A save reads a directory as it was a file for a moment; a round is reported that it is one again."""
    known = kept.syncer._known
    (kept.files / "d").mkdir()
    await kept.syncer.save([b"d"])
    with known.look([b"d"]) as saving:
        with known.look([b"d"]) as comparing:
            assert await known.settle(await known.current([b"d"]), comparing) == {}
        assert await known.commit({b"d": FILE}, {}, saving) == [b"d"]
    assert (await kept.state())["d"].kind is Kind.DIRECTORY


async def test_what_others_have_committed_meanwhile_is_not_as_it_was(kept):
    known = kept.syncer._known
    await known.open()
    with known.look([b"d"]) as comparing:
        with known.look([b"d"]) as saving:
            await known.commit({b"d": FILE}, {}, saving)
        assert await known.settle({b"d": GONE}, comparing) == {b"d": GONE}


async def test_a_deletion_hides_no_directory_that_is_not_kept_yet(kept):
    known = kept.syncer._known
    (kept.files / "d").mkdir()
    with known.look([b"d"]) as look:
        await kept.syncer.save([b"d/never"])
        assert await known.commit({b"d": DIRECTORY}, {}, look) == []
    assert set(await kept.state()) == {"d"}


async def test_a_commit_that_was_written_though_it_failed_has_everything_looked_at(
    kept, monkeypatch
):
    known = kept.syncer._known
    (kept.files / "f").write_bytes(b"1")
    await kept.syncer.save([b"f"])
    await kept.syncer._rounds.open()
    really = manifests.commit

    async def lost(tr, *arguments, **named):
        await really(tr, *arguments, **named)
        await tr.commit(b"once")
        raise DeadlineExceeded("commit", 20.0)

    with known.look([b"f"]) as look:
        monkeypatch.setattr(manifests, "commit", lost)
        with pytest.raises(DeadlineExceeded):
            await known.commit({b"f": GONE}, {}, look)
    monkeypatch.setattr(manifests, "commit", really)
    assert await kept.state() == {}
    await kept.syncer._rounds.look_again()
    assert set(await kept.state()) == {"f"}


async def test_what_is_put_back_is_not_committed_as_gone_by_who_looked_before(kept):
    known = kept.syncer._known
    (kept.files / "d").mkdir()
    await kept.syncer.save([b"d"])
    restore = WorkspaceRestore(kept.tools, "u", kept.counters, known)
    with known.look([b"d"]) as look:
        step = Step(PutBack(there=await known.current([b"d"])))
        await restore._put_back_some(step, kept.codi.route())
        assert await known.commit({b"d": GONE}, {}, look) == [b"d"]


class Step:
    """Puts back what was put back."""

    failed: ClassVar = {}

    def __init__(self, put_back: PutBack) -> None:
        self._put_back = put_back

    async def step(self, _route, _now) -> PutBack:
        return self._put_back


async def commit(known) -> None:
    with known.look() as look:
        await known.commit({b"link": Entry(Kind.LINK, target=b"f")}, {}, look)
