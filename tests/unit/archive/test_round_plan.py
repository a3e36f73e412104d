"""What is looked into, what is committed of it, and what is looked at again."""

from __future__ import annotations

import pytest

from actors.core.errors.base import Unavailable
from actors.core.quotas import Amount, Room, Usage
from actors.core.records.archive import Reason
from cluster.archive.diff import Seen
from cluster.archive.look import Look
from cluster.archive.restoring.restorer import Restorer
from cluster.archive.saving import round_plan
from cluster.archive.saving.left_out import LeftOutPaths
from cluster.archive.saving.quota_backlog import QuotaBacklog
from cluster.archive.saving.round_plan import TRIES, UNSTEADY_TRIES, Reads, Taken
from cluster.store.layers.entries import GONE, Entry, Kind

OLD, NEW = Entry(Kind.FILE, size=3, changed_ns=1), Entry(Kind.FILE, size=5, changed_ns=2)
DIRECTORY = Entry(Kind.DIRECTORY, 0o755)


class Complete:
    """A directory that has everything but ``missing``."""

    complete_incarnation = "i"

    def __init__(self, missing=(), opened=()) -> None:
        self.missing = missing
        self.opened = opened

    def awaits(self, path: bytes, *, within: bool = False) -> bool:
        inside = any(each.startswith(path + b"/") for each in self.missing)
        return inside or (not within and path in self.missing)


def test_marks_say_where_to_look_and_what_is_left_out():
    left = LeftOutPaths()
    for path in (b"was/in", b"open/in", b"hidden", b"same"):
        left.note(path, Reason.UNREADABLE)
    known = {b"same": OLD, b"gone": OLD, b"hidden": OLD, b"pipe": OLD}
    marked = [
        Seen(b"same", OLD), Seen(b"new", NEW), Seen(b"gone", None), Seen(b"was", None),
        Seen(b"hidden", None, Reason.UNREADABLE), Seen(b"pipe", None, Reason.SPECIAL),
        Seen(b"open", DIRECTORY), Seen(b"never", None),
    ]  # fmt: skip
    work = round_plan.of_marks(marked, known, left)
    assert work.found == {b"new": NEW, b"open": DIRECTORY}
    assert work.gone == {b"gone": GONE, b"pipe": GONE}
    assert work.same == {b"same": OLD, b"was": GONE, b"never": GONE}
    assert work.trees == [b"open"]  # what is in it could not be looked at
    assert {path for path, _, _ in left.listed()} == {b"hidden", b"pipe"}


def test_what_is_read_again_waits_behind_the_others_and_is_read_whatever_is_kept():
    reads = Reads({b"a": NEW, b"b": NEW, b"c": NEW}, 2)
    batch = reads.batch()
    assert reads.wanted(batch, {b"a": NEW}) == {b"b": NEW}
    assert reads.done(batch, [b"a", b"d/below"], [b"b"]) == []
    assert list(reads.batch()) == [b"c", b"a"]
    reads.done([b"c"], [], [])
    batch = reads.batch()
    assert list(batch) == [b"a", b"d/below"]
    assert reads.wanted(batch, {b"a": NEW}) == batch
    reads.done(batch, [], [])
    assert reads.done(reads.batch(), [], []) == []
    assert reads.batch() == {}


def test_a_file_that_changes_all_the_time_is_left_and_one_that_others_commit_ends_the_round():
    reads = Reads({b"a": NEW})
    for _ in range(UNSTEADY_TRIES):
        assert reads.done(reads.batch(), [], [b"a"]) == []
    assert reads.done(reads.batch(), [], [b"a"]) == [b"a"]
    assert reads.batch() == {}
    reads = Reads({b"a": NEW, b"b": NEW}, 1)
    for _ in range(2 * TRIES - 2):
        reads.done(batch := reads.batch(), batch, [])
    with pytest.raises(Unavailable):
        reads.done(batch := reads.batch(), batch, [])


def test_what_does_not_fit_is_held_and_what_goes_makes_room():
    held = QuotaBacklog()
    room = Room(Usage(9, 10), Usage(2, 2))
    known = {b"gone": OLD, b"grows": OLD}
    found = {b"grows": NEW, b"more": NEW, b"gone": GONE}
    assert round_plan.fitting(found, known, room, held, Look()) == {b"grows": NEW, b"gone": GONE}
    assert (held.paths, held.size) == (1, 5)
    look = Look()
    look.note({b"more": NEW})  # somebody else was quicker: it is looked at again
    assert round_plan.fitting({b"more": NEW}, known, room, QuotaBacklog(), look) == {b"more": NEW}
    assert round_plan.fitting({b"grows": OLD}, known, room, held, Look()) == {b"grows": OLD}


def test_with_a_directory_is_held_what_lies_in_it_and_what_cannot_be_read_takes_no_room():
    held = QuotaBacklog()
    room = Room(Usage(0, None), Usage(1, 2))
    found = {b"a": OLD, b"b": OLD, b"d": DIRECTORY}
    fitting = round_plan.fitting(found, {}, room, held, Look(), unread={b"a"})
    assert fitting == {b"a": OLD, b"b": OLD}
    more = Room(Usage(0, None), Usage(1, 9))
    assert round_plan.fitting({b"d/f": OLD, b"e": OLD}, {}, more, held, Look()) == {b"e": OLD}
    assert b"d/f" in held


def test_what_is_held_is_looked_at_again_when_what_fitted_beside_it_makes_room():
    held = QuotaBacklog()
    round_plan.fitting({b"a": NEW, b"b": NEW}, {}, Room(Usage(0, None), Usage(1, 2)), held, Look())
    held.end_walk(0.0, 0.0)
    assert not held.worth_looking(Room(Usage(0, None), Usage(2, 2)))
    assert held.worth_looking(Room(Usage(0, None), Usage(1, 2)))


def test_a_round_commits_what_differs_but_for_the_absence_of_what_is_not_put_back():
    restoring = Complete(missing={b"missing"}, opened={b"opened", b"replaced"})
    taken = Taken({
        b"same": OLD, b"new": NEW, b"gone": GONE, b"never": GONE, b"missing": GONE,
        b"opened": Entry(Kind.DIRECTORY, 0o700), b"replaced": NEW,
    })  # fmt: skip
    known = {b"same": OLD, b"gone": DIRECTORY, b"missing": OLD, b"replaced": DIRECTORY}
    work = round_plan.of_round(taken, known, restoring)
    assert work.changes == {b"new": NEW, b"gone": GONE, b"replaced": NEW}
    assert work.emptied == [b"gone", b"replaced"]
    assert work.same == {b"same": OLD, b"never": GONE}


def test_a_directory_stays_as_long_as_something_is_to_be_put_back_into_it():
    restoring = Complete(missing={b"d/e/f"})
    known = {b"d": DIRECTORY, b"d/e": DIRECTORY, b"d/e/f": OLD}
    taken = Taken(dict.fromkeys(known, GONE))
    assert round_plan.of_round(taken, known, restoring).changes == {}
    piped = Taken({b"d": GONE}, left_out={b"d": (Reason.SPECIAL, 0)})
    assert round_plan.of_round(piped, known, restoring).changes == {b"d": GONE}

    def save(path, given_up=()):
        return round_plan.of_save(
            taken, known, [path], restoring, is_answered=False, given_up=given_up
        ).changes

    assert save(b"d") == {}
    assert save(b"d", given_up=[b"d"]) == {b"d": GONE}
    assert save(b"d/e/f") == {b"d/e/f": GONE}


async def test_directories_are_known_to_lack_what_is_in_them_however_deep():
    async def entries():
        for path in (b"d", b"d/e", b"x"):
            yield path, DIRECTORY
        for path in (b"d/e/f", b"d/e/g"):
            yield path, OLD

    async def nothing(_names):
        return {}

    restorer = Restorer(None, None, "w", nothing, nothing)  # nothing of it is wanted any more
    await restorer.plan(entries())
    assert [restorer.awaits(p, within=True) for p in (b"d", b"d/e", b"d/e/f", b"x")] == [
        True, True, False, False
    ]  # fmt: skip
    assert restorer.awaits(b"x", within=False)
    for path, size in [*restorer.missing.items()]:
        restorer._order = [path]
        await restorer.step(None, 0.0)
        left = [each for each in restorer.missing if each.startswith(b"d/")]
        assert restorer.awaits(b"d", within=True) == bool(left), size
    assert restorer.missing == restorer._lacking == {}


def test_a_save_has_what_it_names_and_takes_no_directory_above_for_deleted():
    restoring = Complete(missing={b"d"})
    known = {b"d": DIRECTORY, b"e": DIRECTORY, b"e/f": OLD}
    read = {b"d": GONE, b"d/f": GONE, b"e": DIRECTORY, b"e/f": OLD, b"n": DIRECTORY, b"n/f": NEW}

    def save(*paths, is_answered=False):
        return round_plan.of_save(Taken(read), known, paths, restoring, is_answered=is_answered)

    work = save(b"d/f", b"e/f", b"n/f")
    assert work.changes == {b"n": DIRECTORY, b"n/f": NEW}
    assert work.same == {b"e/f": OLD}
    assert save(b"d/f", is_answered=True).same == {b"d/f": GONE}
    assert save(b"d/f").changes == {}  # directories that are not kept need not be, for a deletion
    assert save(b"d").changes == {b"d": GONE}
    assert save(b"d").emptied == [b"d"]


def test_what_others_have_committed_is_looked_at_again_unless_it_is_the_same():
    look = Look()
    look.note({b"same": NEW, b"other": OLD})
    changes = {b"same": NEW, b"other": NEW, b"mine": NEW}
    assert look.part(changes) == ({b"mine": NEW}, [b"other"])
    kept, again = look.part(changes, whole=True)
    assert (kept, set(again)) == ({}, {b"same", b"other"})
    look.outdated = True
    kept, again = look.part(changes)
    assert (kept, set(again)) == ({}, set(changes))


@pytest.mark.parametrize(
    ("others", "change"),
    [
        ({b"d/f": NEW}, {b"d": GONE}),
        ({b"d/f": NEW}, {b"d": NEW}),
        ({b"d": GONE}, {b"d/f": NEW}),
        ({b"d": NEW}, {b"d/e/f": NEW}),
    ],
)
def test_nothing_is_committed_above_or_below_what_it_does_not_go_with(others, change):
    look = Look(only=change)
    look.others = others
    assert look.part(change) == ({}, list(change))


@pytest.mark.parametrize(
    ("others", "change"),
    [
        ({b"d/f": NEW}, {b"d": DIRECTORY}),
        ({b"d/f": GONE}, {b"d": GONE}),
        ({b"d": DIRECTORY}, {b"d/f": NEW}),
        ({b"d": GONE}, {b"d/f": GONE}),
        ({b"d": NEW}, {b"df": NEW}),
    ],
)
def test_what_goes_with_the_commits_of_others_is_committed(others, change):
    look = Look()
    look.note(others)
    assert look.part(change) == (change, [])


def test_a_look_that_takes_long_notes_only_what_concerns_it():
    look = Look(only=[b"d"])
    look.note({b"d": NEW, b"d/e/f": NEW, b"other": NEW})
    assert look.others.keys() == {b"d", b"d/e/f"}


def test_a_file_is_large_by_its_size_alone():
    assert not round_plan.is_large(Entry(Kind.FILE, size=round_plan.SMALL_BYTES))
    assert round_plan.is_large(Entry(Kind.FILE, size=round_plan.SMALL_BYTES + 1))
    assert not round_plan.is_large(Entry(Kind.DIRECTORY, size=1 << 30))
    assert round_plan.fitting(
        {b"a": OLD}, {}, Room(Usage(0, None), Usage(0, None)), QuotaBacklog(), Look()
    )
    assert OLD.amount == Amount(3, 1)
