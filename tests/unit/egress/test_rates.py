"""Counting and limiting what one session moves, and what the audit trail hears of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.egress.host_log import HOSTS, MAX_SESSIONS, WINDOW_SECONDS, HostLog
from cluster.egress.rates import MAX_REFUSALS, Counter, TokenBucket


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=200), st.integers(100, 10_000))
def test_a_bucket_lets_its_rate_pass_and_a_second_at_once(pieces, rate):
    bucket, now = TokenBucket(rate, 0.0), 0.0
    for piece in pieces:
        now += bucket.wait(now)
        bucket.spend(piece, now)
    assert sum(pieces) <= rate * (now + 1) + max(pieces) + 1


def test_a_bucket_without_a_rate_never_waits():
    bucket = TokenBucket(0, 0.0)
    bucket.spend(1 << 40, 0.0)
    assert bucket.wait(0.0) == 0.0


def test_a_day_begins_anew_and_refusals_stay():
    counter = Counter("s", None, "2026-01-01")
    counter.move(3, 4)
    counter.refuse("h", 80, "private", "is private", 5.0)
    again = Counter("s", counter.use(), "2026-01-01")
    assert (again.moved, again.use().refused) == (7, 1)
    again.begin("2026-01-02")
    assert (again.moved, len(again.use().refusals)) == (0, 1)
    assert Counter("s", counter.use(), "2026-01-02").moved == 0


def test_refusals_are_few_and_the_same_one_counts():
    counter = Counter("s", None, "d")
    for number in range(50):
        counter.refuse(f"h{number}" + "x" * 1000, 80, "private", "y" * 5000, float(number))
    counter.refuse("h", 80, "private", "words", 60.0)
    counter.refuse("i", 80, "private", "words", 61.0)
    counter.refuse("h", 80, "private", "words", 62.0)
    refusals = counter.use().refusals
    assert len(refusals) == MAX_REFUSALS
    assert (refusals[0].host, refusals[0].count, refusals[0].at) == ("h", 2, 62.0)
    assert all(len(each.host) <= 200 and len(each.reason) <= 200 for each in refusals)


def test_a_host_is_written_once_and_summed_up_at_the_windows_end():
    log = HostLog("t")
    assert [line.count for line in log.note("s", "u", "a:1", "ok", 0.0)] == [1]
    assert log.note("s", "u", "a:1", "ok", 1.0) == []
    assert log.note("s", "u", "a:1", "ok", 2.0) == []
    assert log.due(WINDOW_SECONDS - 1) == []
    [line] = log.due(WINDOW_SECONDS)
    assert (line.count, line.resource, line.user_id) == (2, "session/s/host/a:1", "u")
    assert log.rest(100.0) == []


def test_a_flood_of_hosts_is_one_line():
    log = HostLog("t")
    lines = [line for n in range(1000) for line in log.note("s", "u", f"h{n}:1", "ok", 0.0)]
    assert len(lines) == HOSTS
    [rest] = log.rest(1.0)
    assert (rest.count, rest.resource) == (1000 - HOSTS, "session/s/host/*")


def test_sessions_in_the_log_are_bounded():
    log = HostLog("t")
    for number in range(MAX_SESSIONS + 10):
        log.note(f"s{number}", "u", "h:1", "ok", 0.0)
        log.note(f"s{number}", "u", "h:1", "ok", 0.0)
    assert len(log.rest(1.0)) == MAX_SESSIONS
