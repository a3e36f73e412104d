"""The choice of batches for a commit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.journal.backlog import Backlog, JournalRules

RULES = JournalRules(commit_bytes=1000, commit_terminals=3, rate=100.0, burst=200.0, loud=1)


def backlog(rules: JournalRules = RULES) -> Backlog[str, str]:
    return Backlog(rules)


def test_batches_are_taken_together_in_the_order_of_their_arrival():
    waiting = backlog()
    assert waiting.next_due(0.0) is None
    for terminal in ("b", "a", "c"):
        waiting.add(terminal, f"batch of {terminal}", 10)
    assert waiting.next_due(0.0) == 0.0
    assert list(waiting.take(0.0)) == ["b", "a", "c"]
    assert len(waiting) == 0
    assert waiting.take(0.0) == {}


def test_a_later_batch_of_a_terminal_takes_the_place_of_the_former():
    waiting = backlog()
    waiting.add("a", "old", 10)
    waiting.add("b", "other", 10)
    waiting.add("a", "new", 20)
    assert waiting.take(0.0) == {"a": "new", "b": "other"}


def test_a_commit_takes_so_many_terminals_and_no_more():
    waiting = backlog()
    for number in range(5):
        waiting.add(f"t{number}", "", 1)
    assert list(waiting.take(0.0)) == ["t0", "t1", "t2"]
    assert list(waiting.take(0.0)) == ["t3", "t4"]


def test_a_commit_takes_so_many_bytes_and_no_more_but_one_batch_at_least():
    waiting = backlog()
    waiting.add("huge", "", 5000)
    waiting.add("a", "", 600)
    waiting.add("b", "", 600)
    assert list(waiting.take(0.0)) == ["huge"]
    assert list(waiting.take(0.0)) == ["a"]
    assert list(waiting.take(0.0)) == ["b"]


def test_a_terminal_that_prints_without_end_waits_after_its_burst_and_holds_up_nobody():
    waiting = backlog()
    waiting.add("loud", "1", 300)
    assert waiting.take(0.0) == {"loud": "1"}
    waiting.add("loud", "2", 100)
    assert waiting.take(0.0) == {}
    assert waiting.next_due(0.0) == 1.0
    waiting.add("quiet", "3", 1)
    assert waiting.next_due(0.0) == 0.0
    assert waiting.take(0.5) == {"quiet": "3"}
    assert waiting.next_due(0.5) == 0.5
    assert waiting.take(1.0) == {"loud": "2"}


def test_a_terminal_that_was_quiet_has_its_whole_burst_and_not_more():
    waiting = backlog()
    waiting.add("a", "", 300)
    assert waiting.take(100.0)
    waiting.add("a", "", 1)
    assert waiting.take(100.0) == {}
    assert waiting.take(200.0)
    waiting.add("a", "", 300)
    assert waiting.take(200.0)
    waiting.add("a", "", 1)
    assert waiting.next_due(200.0) > 0.9


def test_a_forgotten_terminal_waits_for_nothing():
    waiting = backlog()
    waiting.add("a", "", 1)
    waiting.drop("a")
    waiting.drop("a")
    assert waiting.next_due(0.0) is None
    assert waiting.take(0.0) == {}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 700)), max_size=60))
def test_a_terminal_gets_no_more_than_its_rate_and_every_batch_is_taken_in_the_end(batches):
    waiting, now, paid, owed = backlog(), 0.0, dict.fromkeys("abcdef", 0), {}

    def take() -> None:
        for terminal, size in waiting.take(now).items():
            assert owed.pop(terminal) == size
            paid[terminal] += int(size)
            # What was taken before this batch was within the burst and the rate.
            assert paid[terminal] - size <= RULES.burst + RULES.rate * now + 1e-6

    for terminal, size in batches:
        while terminal in owed:  # one batch of a terminal is under way, as CODI has it
            due = waiting.next_due(now)
            assert due is not None
            now += due + 1e-9
            take()
        waiting.add(terminal, size, size)
        owed[terminal] = size
    while (due := waiting.next_due(now)) is not None:
        now += due + 1e-9
        take()
    assert owed == {}


def test_what_is_known_of_many_terminals_that_came_and_went_is_bounded():
    waiting = backlog()
    for number in range(10_000):
        waiting.add(f"t{number}", "", 1)
        waiting.take(float(number))
    assert len(waiting._paid_until) <= 4 * RULES.commit_terminals


def test_while_several_terminals_print_the_next_commit_gathers_and_one_alone_never_waits():
    waiting = backlog(JournalRules(gather=0.5))
    waiting.add("a", "1", 1)
    assert waiting.take(0.0) == {"a": "1"}
    waiting.add("a", "2", 1)
    waiting.add("b", "1", 1)
    assert waiting.take(0.0) == {"a": "2", "b": "1"}
    waiting.add("a", "3", 1)
    assert waiting.next_due(0.25) == 0.25
    assert waiting.take(0.25) == {}
    assert waiting.take(0.5) == {"a": "3"}
    waiting.add("a", "4", 1)
    assert waiting.take(0.5) == {"a": "4"}


def test_of_what_is_printed_without_end_a_commit_takes_so_much_and_of_the_rest_all():
    waiting = backlog(JournalRules(commit_bytes=250, loud=100, gather=0.0))
    for name in ("loud", "louder", "loudest"):
        waiting.add(name, name, 100)
    waiting.add("quiet", "q", 99)
    assert list(waiting.take(0.0)) == ["loud", "louder", "quiet"]
    waiting.add("loud", "again", 100)
    waiting.add("loudest", "huge", 300)
    waiting.add("quiet", "q", 99)
    assert list(waiting.take(0.0)) == ["loudest", "quiet"]
    assert list(waiting.take(0.0)) == ["loud"]


def test_a_terminal_that_was_dropped_leaves_no_debt_to_the_next_of_its_name():
    waiting = backlog()
    waiting.add("t", "much", 900)
    assert waiting.take(0.0)
    waiting.add("t", "more", 900)
    assert not waiting.take(1.0)
    waiting.drop("t")
    waiting.add("t", "new", 10)
    assert waiting.next_due(1.0) == 0.0
    assert waiting.take(1.0) == {"t": "new"}


def test_a_commit_may_be_filled_to_its_last_byte():
    waiting = backlog()
    waiting.add("a", "", 400)
    waiting.add("b", "", 600)
    waiting.add("c", "", 1)
    assert list(waiting.take(0.0)) == ["a", "b"]
