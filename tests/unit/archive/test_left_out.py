"""Left-out files are reported with a reason, and a receipt never claims more than is true."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.core.quotas import Amount, Resource, Room, Usage
from actors.core.records.archive import Reason
from cluster.archive import listing
from cluster.archive.diff import Seen
from cluster.archive.saving import left_out, round_plan
from cluster.archive.saving.left_out import LeftOutPaths, report
from cluster.archive.saving.quota_backlog import QuotaBacklog
from cluster.codi.agent.files import temporary
from cluster.codi.bundle import Limits
from cluster.store.layers.entries import Entry, Kind
from tests.support.archive import kept_workspace, until_reported

NAMES_OF_PEOPLE = [
    b".codi-",
    b".codi-notes.md",
    b".codi-0123456789abcdef",
    b".codi-" + b"0" * 32,
    temporary.new_name() + b"~",
    temporary.new_name()[:-1],
    temporary.new_name().upper(),
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


def listed(reported) -> set[tuple[str, str]]:
    return {(each.path, each.reason.value) for each in reported.left_out} if reported else set()


def test_only_a_name_that_was_made_as_one_is_a_temporary_one():
    assert all(temporary.is_temporary(temporary.new_name()) for _ in range(100))
    assert temporary.new_name() != temporary.new_name()
    assert not any(map(temporary.is_temporary, NAMES_OF_PEOPLE))


async def test_names_that_look_like_the_products_own_are_ordinary(tmp_path, stage):
    def setup(files: Path):
        for name in NAMES_OF_PEOPLE:
            (files / os.fsdecode(name)).write_bytes(name)
        (files / ".codi-lab").mkdir()
        (files / ".codi-lab" / "a").write_bytes(b"x")

    async with kept_workspace(tmp_path / "k", stage, setup=setup) as kept:
        async with kept.following():
            state = await kept.until(lambda s: len(s) == len(NAMES_OF_PEOPLE) + 2)
            assert ".codi-lab/a" in state
            (kept.files / ".codi-later").write_bytes(b"later")
            await kept.until(lambda s: ".codi-later" in s)
        (kept.files / ".codi-saved").write_bytes(b"saved")
        version, without = await kept.syncer.save([b".codi-saved"])
        assert without == {}
        assert ".codi-saved" in await kept.state(version)


async def test_what_is_left_out_is_reported_with_its_reason_until_it_is_not(tmp_path, stage):
    limits = Limits(excludes=(".cache",))
    async with (
        kept_workspace(tmp_path / "k", stage, limits=limits, max_file=1000) as kept,
        kept.following(),
    ):
        (kept.files / "d").mkdir()
        (kept.files / "d" / ".cache").mkdir()
        (kept.files / "d" / ".cache" / "inner").write_bytes(b"x")
        os.mkfifo(kept.files / "pipe")
        (kept.files / "fine").write_bytes(b"x" * 1000)
        quiet = {("d/.cache", "excluded"), ("pipe", "special")}
        found = await until_reported(kept, lambda reported: listed(reported) == quiet)
        assert (found.resource, found.paths, found.by_design) == (None, 0, 2)
        (kept.files / "d" / "large").write_bytes(b"x" * 1001)
        found = await until_reported(kept, lambda reported: len(listed(reported)) == 3)
        assert (found.paths, found.size) == (1, 1001)
        assert listed(found) == quiet | {("d/large", "too_large")}
        assert set(await kept.state()) == {"d", "fine"}
        (kept.files / "d" / "large").write_bytes(b"x" * 999)
        await until_reported(kept, lambda reported: listed(reported) == quiet)
        (kept.files / "pipe").unlink()
        await until_reported(
            kept, lambda reported: listed(reported) == quiet - {("pipe", "special")}
        )
        (kept.files / "d").rename(kept.files / "e")
        await until_reported(kept, lambda reported: listed(reported) == {("e/.cache", "excluded")})
        await kept.syncer.flush()
        (kept.files / "e" / ".cache" / "inner").unlink()
        (kept.files / "e" / ".cache").rmdir()
        await until_reported(kept, lambda reported: reported is None)


async def test_a_save_of_what_is_left_out_reports_it_and_is_no_version(tmp_path, stage):
    limits = Limits(excludes=(".cache",))
    async with kept_workspace(tmp_path / "k", stage, limits=limits, max_file=1000) as kept:
        (kept.files / "a" / ".cache").mkdir(parents=True)
        (kept.files / "a" / ".cache" / "x").write_bytes(b"x")
        (kept.files / "large").write_bytes(b"x" * 2000)
        (kept.files / "huge").write_bytes(os.urandom(300_000))
        for path, reason in (
            (b"a/.cache/x", Reason.EXCLUDED),
            (b"large", Reason.TOO_LARGE),
            (b"huge", Reason.TOO_LARGE),
        ):
            _, without = await kept.syncer.save([path])
            assert without == {path: reason}
        assert await kept.state() == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
async def test_what_cannot_be_read_is_left_out_until_it_can(tmp_path, stage):
    async with kept_workspace(tmp_path / "k", stage) as kept, kept.following():
        (kept.files / "secret").write_bytes(b"x")
        (kept.files / "secret").chmod(0o222)
        (kept.files / "closed").mkdir()
        (kept.files / "closed" / "f").write_bytes(b"y")
        (kept.files / "closed").chmod(0o333)
        hidden = {("secret", "unreadable"), ("closed", "unreadable")}
        await kept.syncer.flush()
        await until_reported(kept, lambda reported: listed(reported) == hidden)
        (kept.files / "secret").chmod(0o600)
        (kept.files / "closed").chmod(0o755)
        await kept.until(lambda s: {"secret", "closed/f"} <= set(s))
        await until_reported(kept, lambda reported: reported is None)


# ---- the pure parts ---------------------------------------------------------------------------------


def test_a_quotas_paths_come_first_then_what_people_mind_and_by_design_last():
    held = QuotaBacklog()
    room = Room(Usage(100, 100), Usage(0, None))
    held.hold({b"big": Amount(70, 1)}, Resource.FILE_BYTES, room)
    left = LeftOutPaths()
    left.note(b"z", Reason.EXCLUDED)
    left.note(b"caf\xe9", Reason.UNREADABLE, 5)
    said = report(left, held, "s", None, 7.0)
    assert said is not None
    assert [each.reason.value for each in said.left_out] == ["quota", "unreadable", "excluded"]
    assert (said.resource, said.paths, said.size, said.by_design) == ("file_bytes", 2, 75, 1)
    assert said.left_out[1].encoded == "caf%E9"
    assert said.since == 7.0
    left.release([b"z"])
    later = report(left, held, "s", said, 9.0)
    assert later is not None
    assert later.since == 7.0


def test_what_is_reported_is_bounded_and_what_is_counted_is_not():
    left = LeftOutPaths()
    for number in range(left_out.MAX_PATHS + 10):
        left.note(b"%06d" % number, Reason.UNREADABLE)
    said = report(left, QuotaBacklog(), "s", None, 0.0)
    assert said is not None
    assert said.paths == left_out.MAX_PATHS
    assert len(said.left_out) == listing.LISTED
    long = [(b"x" * 4000, Reason.UNREADABLE, 0)] * 10
    assert len(listing.bounded(long)) == listing.LISTED_BYTES // 4000


def test_what_a_walk_does_not_meet_is_forgotten_but_for_what_is_not_read_yet():
    left = LeftOutPaths()
    for path in (b"met", b"unmet", b"unread"):
        left.note(path, Reason.TOO_LARGE)
    left.begin_walk()
    left.note(b"met", Reason.TOO_LARGE)
    left.end_walk({b"unread"})
    assert [path for path, _, _ in left.listed()] == [b"met", b"unread"]


def test_with_a_directory_goes_what_was_below_it():
    left = LeftOutPaths()
    for path in (b"d", b"d/a/b", b"d2", b"e"):
        left.note(path, Reason.SPECIAL)
    left.gone([b"d"])
    assert [path for path, _, _ in left.listed()] == [b"d2", b"e"]


def test_what_was_noted_after_a_look_began_is_not_forgotten_for_what_it_saw():
    left = LeftOutPaths()
    left.note(b"d/old", Reason.SPECIAL)
    began = left.notes
    left.note(b"d/new", Reason.SPECIAL)
    assert left.gone([b"d"], began)
    assert [path for path, _, _ in left.listed()] == [b"d/new"]
    left.note(b"d/new", Reason.SPECIAL)
    assert not left.gone([b"d/new"], left.notes - 1)
    assert left.gone([b"d/new"], left.notes)


def test_nothing_is_left_out_below_what_is_no_directory():
    left = LeftOutPaths()
    for path in (b"d", b"d/a/b", b"d2"):
        left.note(path, Reason.SPECIAL)
    left.gone((), closed={b"d"})
    assert [path for path, _, _ in left.listed()] == [b"d", b"d2"]


def test_a_mark_of_a_file_or_a_special_one_ends_what_was_left_out_below_it():
    left = LeftOutPaths()
    for path in (b"f/s", b"s/s", b"d/s"):
        left.note(path, Reason.SPECIAL)
    marked = [Seen(b"f", Entry(Kind.FILE), None), Seen(b"s", None, Reason.SPECIAL)]
    round_plan.of_marks(marked, {}, left)
    assert [path for path, _, _ in left.listed()] == [b"d/s", b"s"]
