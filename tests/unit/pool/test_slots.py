"""The slots of one pool: which serves a claim, and what a reservation keeps apart."""

import pytest

from actors.pool.slots import Slot, SlotState, SlotTable, StartBackoff


def table(target=3, max_starting=2):
    return SlotTable(target, max_starting)


def test_the_slot_that_has_been_ready_longest_serves_first():
    slots = table()
    slots.adopt("young", 5.0)
    slots.adopt("old", 1.0)
    assert [slots.reserve().slot_id, slots.reserve().slot_id] == ["old", "young"]
    assert slots.reserve() is None


def test_a_reservation_given_back_keeps_its_place():
    slots = table()
    slots.adopt("old", 1.0)
    slots.adopt("young", 5.0)
    slots.reserve()
    slots.put_back("old")
    assert slots.reserve().slot_id == "old"


def test_a_taken_slot_leaves_the_pool():
    slots = table()
    slots.adopt("a", 1.0)
    slots.reserve()
    slots.take("a")
    assert "a" not in slots


def test_only_a_reserved_slot_can_be_taken():
    slots = table()
    slots.adopt("a", 1.0)
    with pytest.raises(ValueError, match="not reserved"):
        slots.take("a")


def test_a_slot_is_adopted_once():
    slots = table()
    assert slots.adopt("a", 1.0)
    slots.reserve()
    assert not slots.adopt("a", 2.0)
    assert slots.get("a").state is SlotState.RESERVED


def test_starts_at_once_are_bounded():
    slots = table(max_starting=1)
    slots.start("a", 0.0)
    with pytest.raises(ValueError, match="more than 1"):
        slots.start("b", 0.0)


def test_a_start_that_ends_after_its_slot_was_dropped_changes_nothing():
    slots = table()
    slots.start("a", 0.0)
    slots.drop("a")
    slots.started("a", 1.0)
    assert "a" not in slots


def test_backoff_doubles_up_to_its_cap_and_a_success_clears_it():
    backoff = StartBackoff(base_seconds=1.0, cap_seconds=4.0)
    waits, now = [], 0.0
    for _ in range(5):
        backoff.failed(now)
        waits.append(backoff.remaining(now))
        now += waits[-1]
    assert waits == [1.0, 2.0, 4.0, 4.0, 4.0]
    backoff.succeeded()
    assert backoff.remaining(now) == 0.0


def test_failures_of_starts_under_way_together_count_once():
    backoff = StartBackoff(base_seconds=1.0)
    backoff.failed(10.0)
    backoff.failed(10.5)
    assert backoff.failures == 1


def test_a_start_that_succeeded_is_a_ready_slot_with_what_it_brought():
    slots = table()
    slots.backoff.failed(0.0)
    slots.start("a", 0.0)
    slots.started("a", 7.0, "handle")
    assert slots.get("a") == Slot("a", SlotState.READY, 7.0, "handle")
    assert slots.backoff == StartBackoff()
    reserved = slots.reserve()
    assert reserved.payload == "handle"
    assert slots.get("a") == Slot("a", SlotState.RESERVED, 7.0, "handle")
    slots.started("a", 9.0, "another")
    assert slots.get("a").payload == "handle", "only a start that is under way ends"


def test_what_is_not_there_is_given_back_and_dropped_without_a_word():
    slots = table()
    slots.put_back("nothing")
    slots.drop("nothing")
    slots.failed("nothing", 1.0)
    assert list(slots) == []


def test_a_slot_has_since_when_it_is_as_it_is_and_what_a_claim_needs():
    slots = table()
    slots.start("a", 3.0)
    assert slots.get("a") == Slot("a", SlotState.STARTING, 3.0)
    slots.adopt("b", 5.0, "handle of b")
    assert slots.get("b") == Slot("b", SlotState.READY, 5.0, "handle of b")
    assert slots.reserve().payload == "handle of b"
