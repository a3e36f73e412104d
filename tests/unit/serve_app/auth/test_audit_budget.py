"""A flood is summed up, loses nothing that is counted, and drowns nobody else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.records.accounts import AuditEntry
from serve_app.auth.audit_budget import (
    LINES,
    MAX_PARTIES,
    STRANGERS_LINES,
    SUMS,
    WINDOW_SECONDS,
    Budget,
)


def entry(user="u1", action="exec", resource="r", result="ok", address="1", at=0.0) -> AuditEntry:
    return AuditEntry(
        timestamp=at,
        tenant_id="t",
        user_id=user,
        action=action,
        resource=resource,
        result=result,
        ip_address=address,
    )


def test_what_is_more_than_a_budget_is_reported_in_one_line_when_the_window_is_over():
    budget = Budget()
    now = [len(budget.take(entry(at=float(n)), 0.0)) for n in range(LINES + 40)]
    assert now == [1] * LINES + [0] * 40
    assert budget.due(WINDOW_SECONDS - 1) == []
    [line] = budget.due(WINDOW_SECONDS)
    assert (line.count, line.action, line.user_id, line.ip_address) == (40, "exec", "u1", "1")
    assert line.timestamp == LINES + 39
    assert budget.due(1e9) == []


def test_strangers_share_one_budget_whatever_they_try_and_users_have_their_own():
    budget = Budget()
    written = [
        line
        for n in range(500)
        for line in budget.take(
            entry(f"u{n}", "login", f"user/u{n}", "refused", address=str(n)), 0.0
        )
    ]
    assert len(written) == STRANGERS_LINES
    assert budget.take(entry("u7", "login"), 0.0) == [entry("u7", "login")]
    sums = budget.rest()
    assert len(sums) <= SUMS + 1
    assert sum(line.count for line in sums) == 500 - STRANGERS_LINES
    assert sums[-1].user_id is None
    assert (sums[-1].ip_address, sums[-1].resource) == (None, "*")


def test_changes_of_accounts_are_never_summed_up():
    budget = Budget()
    lines = [budget.take(entry("admin", "user.create", f"user/{n}"), 0.0) for n in range(500)]
    assert all(len(each) == 1 for each in lines)


def test_a_deed_among_a_flood_keeps_its_name():
    budget = Budget()
    for _ in range(1000):
        budget.take(entry(), 0.0)
    budget.take(entry(action="session.end", resource="session/s1"), 1.0)
    assert [line.action for line in budget.rest()] == ["exec", "session.end"]


def test_a_new_window_begins_with_the_sums_of_the_last():
    budget = Budget()
    for _ in range(LINES + 1):
        budget.take(entry(), 0.0)
    assert [line.count for line in budget.take(entry(), WINDOW_SECONDS)] == [1, 1]


def test_the_number_of_parties_is_bounded_and_none_is_lost():
    budget = Budget()
    for _ in range(LINES + 5):
        budget.take(entry("first"), 0.0)
    lines = [line for n in range(MAX_PARTIES) for line in budget.take(entry(f"u{n}"), 1.0)]
    assert sum(line.count for line in lines if line.user_id == "first") == 5
    assert len(budget._parties) == MAX_PARTIES


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", None]),
            st.sampled_from(["exec", "login", "file.save", "user.create"]),
            st.sampled_from(["ok", "refused"]),
            st.integers(0, 60),
            st.floats(0, 40),
        ),
        max_size=60,
    )
)
def test_every_entry_is_counted_once(steps):
    budget, now, reported, made = Budget(), 0.0, 0, 0
    for user, action, result, times, wait in steps:
        now += wait
        reported += sum(line.count for line in budget.due(now))
        for n in range(times):
            made += 1
            lines = budget.take(entry(user, action, f"r{n}", result), now)
            reported += sum(line.count for line in lines)
    assert reported + sum(line.count for line in budget.rest()) == made


def flood(budget: Budget, user: str, number: int, now: float) -> list[AuditEntry]:
    return [line for _ in range(number) for line in budget.take(entry(user), now)]


def test_sums_that_are_due_at_once_are_all_recorded():
    budget = Budget()
    for user in ("u1", "u2", "u3"):
        flood(budget, user, LINES + 5, 10.0)
    assert budget.due(9.0 + WINDOW_SECONDS) == []
    reported = budget.due(10.0 + WINDOW_SECONDS)
    assert [(line.user_id, line.count) for line in reported] == [("u1", 5), ("u2", 5), ("u3", 5)]


def test_a_new_window_begins_with_the_sums_of_the_last_and_a_whole_budget():
    budget = Budget()
    budget.take(entry("u1", action="a"), 10.0)
    flood(budget, "u1", LINES + 5, 10.0)
    budget.take(entry("u1", resource="other"), 10.0)
    assert flood(budget, "u1", 1, 10.0 + WINDOW_SECONDS - 0.1) == []
    lines = flood(budget, "u1", LINES + 1, 10.0 + WINDOW_SECONDS)
    assert [line.count for line in lines] == [7, 1] + [1] * LINES


def test_the_party_that_came_first_gives_way_when_there_are_too_many():
    budget = Budget()
    for number in range(MAX_PARTIES):
        flood(budget, f"u{number}", LINES + 2 if number < 2 else 1, 0.0)
    [line, own] = budget.take(entry("one more"), 0.0)
    assert (line.user_id, line.count, own.user_id) == ("u0", 2, "one more")


def test_things_that_are_known_stay_apart_though_there_are_many():
    budget = Budget()
    flood(budget, "u1", LINES, 0.0)
    for number in range(SUMS + 3):
        budget.take(entry("u1", resource=f"r{number}"), 0.0)
    budget.take(entry("u1", resource="r0"), 0.0)
    reported = {line.resource: line.count for line in budget.rest()}
    assert (reported["r0"], reported["r1"], reported["*"]) == (2, 1, 3)
