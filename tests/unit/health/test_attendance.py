"""The table of who is attached: by replica, for as long as the replica reports."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from actors.core.errors.limits import TooManyRequests
from actors.core.records.attendance import AttendanceAnswer, AttendanceReport
from actors.health.attendance import MAX_REPLICAS, Attendance

TTL = 20.0
KNOWN = 100.0 + TTL
"""From then on a table that began at 100 knows all."""

FINE = AttendanceAnswer(7)
WANTS_ALL = AttendanceAnswer(7, whole_wanted=True)


def table() -> Attendance:
    return Attendance(7, began=100.0, ttl=TTL)


def whole(number: int, counts: Mapping[str, int], replica: str = "r1") -> AttendanceReport:
    return AttendanceReport(replica, number, counts, whole=True)


def changes(number: int, counts: Mapping[str, int], incarnation: int = 7) -> AttendanceReport:
    return AttendanceReport("r1", number, counts, incarnation)


def test_changes_add_to_the_whole_and_replicas_add_up():
    known = table()
    assert known.report(whole(1, {"a": 2, "b": 1}), KNOWN) == FINE
    assert known.report(changes(2, {"b": 0, "c": 3}), KNOWN) == FINE
    known.report(whole(1, {"a": 1}, "r2"), KNOWN)
    assert [known.attached(each, KNOWN) for each in "abc"] == [3, 0, 3]
    stats = known.stats(KNOWN)
    assert (stats["attached_sockets"], stats["attached_sessions"]) == (6, 2)


def test_until_every_replica_has_had_its_time_every_session_is_attached():
    known = table()
    known.report(whole(1, {"a": 2}), 100.0)
    assert (known.attached("a", 101.0), known.attached("b", KNOWN - 1)) == (2, 1)
    known.report(changes(2, {}), KNOWN - 1)
    assert (known.attached("a", KNOWN), known.attached("b", KNOWN)) == (2, 0)


def test_what_a_replica_reported_ends_with_it():
    known = table()
    known.report(whole(1, {"a": 1}), KNOWN)
    known.report(changes(2, {}), KNOWN + TTL - 1)
    assert known.attached("a", KNOWN + TTL) == 1
    assert known.attached("a", KNOWN + 2 * TTL - 1) == 0
    assert known.report(changes(3, {"a": 1}), KNOWN + 2 * TTL) == WANTS_ALL


@pytest.mark.parametrize(
    "report", [changes(2, {}, incarnation=6), changes(3, {}), changes(1, {"a": 0})]
)
def test_a_report_that_does_not_follow_changes_nothing_but_shows_life(report):
    known = table()
    known.report(whole(1, {"a": 1}), KNOWN)
    assert known.report(report, KNOWN + TTL - 1) == WANTS_ALL
    assert known.attached("a", KNOWN + TTL) == 1


def test_a_replica_that_is_not_known_is_asked_for_the_whole():
    assert table().report(changes(1, {"a": 1}), KNOWN) == WANTS_ALL


def test_a_whole_that_comes_late_changes_nothing():
    known = table()
    known.report(whole(2, {}), KNOWN)
    assert known.report(whole(1, {"a": 1}), KNOWN) == FINE
    assert known.attached("a", KNOWN) == 0


def test_replicas_are_bounded():
    known = table()
    for number in range(MAX_REPLICAS):
        known.report(whole(1, {}, f"r{number}"), KNOWN)
    known.report(whole(2, {}, "r0"), KNOWN)
    with pytest.raises(TooManyRequests):
        known.report(whole(1, {}, "one more"), KNOWN)
