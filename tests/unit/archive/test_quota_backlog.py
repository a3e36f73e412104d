"""Held paths, the report of them, and the time of their next try."""

from __future__ import annotations

from actors.core.quotas import Amount, Resource, Room, Usage
from cluster.archive.saving.quota_backlog import MAX_PATHS, PAUSE_SECONDS, QuotaBacklog


def room(left: int) -> Room:
    return Room(Usage(100 - left, 100), Usage(0, None))


def held(*paths: bytes, left: int = 10) -> QuotaBacklog:
    made = QuotaBacklog()
    amounts = {path: Amount(50, 1) for path in paths}
    made.hold(amounts, Resource.FILE_BYTES, room(left))
    return made


def test_it_reports_how_much_is_held_and_for_lack_of_what():
    made = held(b"a", b"b")
    made.hold({b"c": Amount(70, 1)}, Resource.FILE_BYTES, room(10))
    assert (made.lacks, made.paths, made.size) == (Resource.FILE_BYTES, 3, 170)
    assert made.largest(2) == [(b"c", 70), (b"a", 50)]


def test_a_path_that_is_held_again_counts_once():
    made = held(b"a")
    made.hold({b"a": Amount(60, 1)}, Resource.FILE_BYTES, room(10))
    assert (made.paths, made.size) == (1, 60)


def test_what_is_archived_after_all_is_held_no_more():
    made = held(b"a", b"b")
    made.release([b"a"])
    assert made
    made.release([b"b", b"unknown"])
    assert not made
    assert made.paths == made.size == 0


def test_it_is_worth_looking_when_there_is_more_room_or_something_changed():
    made = held(b"a", left=10)
    assert not made.worth_looking(room(10))
    assert made.worth_looking(room(11))
    assert made.worth_looking(Room(Usage(90, None), Usage(0, None)))
    made.touched()
    assert made.worth_looking(room(10))


def test_a_walk_finds_all_that_is_held_anew_and_the_next_one_waits():
    made = held(b"a", b"b")
    made.begin_walk()
    made.hold({b"b": Amount(50, 1)}, Resource.FILE_BYTES, room(10))
    made.end_walk(monotonic=100.0, seconds=0.001)
    assert made.paths == 1
    assert not made.may_look(100.0)
    assert made.may_look(100.0 + PAUSE_SECONDS)
    made.begin_walk()
    made.end_walk(monotonic=200.0, seconds=10.0)
    assert not made


def test_a_long_walk_is_followed_by_a_long_pause():
    made = held(b"a")
    made.end_walk(monotonic=0.0, seconds=10.0)
    assert not made.may_look(199.0)
    assert made.may_look(200.0)


def test_what_is_remembered_is_bounded_and_the_rest_is_not_forgotten():
    made = held(*(b"%d" % n for n in range(MAX_PATHS + 5)))
    assert made.paths == MAX_PATHS
    made.release(b"%d" % n for n in range(MAX_PATHS + 5))
    assert made  # until a walk has found nothing
    made.begin_walk()
    made.end_walk(0.0, 0.0)
    assert not made


def test_the_least_room_since_the_walk_is_what_more_is_measured_by():
    made = held(b"a", left=30)
    made.hold({b"b": Amount(50, 1)}, Resource.FILE_BYTES, room(10))
    made.hold({b"c": Amount(50, 1)}, Resource.FILE_BYTES, room(20))
    assert not made.worth_looking(room(10))
    assert made.worth_looking(room(11))
    made.begin_walk()
    assert made.worth_looking(room(0))


def test_more_of_either_is_worth_looking_since_some_may_lack_the_other():
    made = QuotaBacklog()
    full = Room(Usage(100, 100), Usage(5, 5))
    made.hold({b"a": Amount(0, 1)}, Resource.FILES, full)
    made.hold({b"b": Amount(50, 0)}, Resource.FILE_BYTES, full)
    assert not made.worth_looking(full)
    assert made.worth_looking(Room(Usage(100, 100), Usage(5, 6)))
    assert made.worth_looking(Room(Usage(90, 100), Usage(5, 5)))
    assert b"a" in made
    assert b"c" not in made


def test_nothing_is_looked_for_while_nothing_is_held():
    made = QuotaBacklog()
    assert not made.worth_looking(room(100))
    made.touched()
    assert not made.worth_looking(room(100))
    assert not made.may_look(1e9)


def test_what_would_take_most_is_reported_first_and_by_name_where_that_is_the_same():
    made = QuotaBacklog()
    amounts = {b"z": Amount(5, 9), b"a": Amount(5, 1), b"m": Amount(5, 5), b"x": Amount(7, 1)}
    made.hold(amounts, Resource.FILE_BYTES, room(1))
    assert made.largest(3) == [(b"x", 7), (b"a", 5), (b"m", 5)]
