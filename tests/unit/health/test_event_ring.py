"""Events of a node: numbered, kept for a while, and never missed silently."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.core.records.events import Place, Published
from actors.health.event_ring import MAX_PAGE, EventRing


def happening(number: int, session_id: str = "s1", data: str = "") -> Published:
    return Published(session_id, "saved", {"number": number, "data": data}, 5.0)


def published(ring: EventRing, *numbers: int, first: int = 1) -> EventRing:
    for batch, number in enumerate(numbers, first):
        ring.publish("a", batch, [happening(number)])
    return ring


def test_events_come_in_order_with_their_sessions_and_numbers():
    ring = EventRing(7)
    ring.publish("a", 1, [happening(1), happening(2, "s2")])
    place, events, gap = ring.after(Place(7, 0))
    assert [(session, e.activation, e.seq, e.at, e.type) for session, e in events] == [
        ("s1", 7, 1, 5.0, "saved"),
        ("s2", 7, 2, 5.0, "saved"),
    ]
    assert (place, gap) == (Place(7, 2), False)
    assert ring.after(place) == (place, [], False)


def test_whoever_begins_has_missed_all_there_was():
    assert published(EventRing(7), 1, 2).after(None) == (Place(7, 2), [], True)


@pytest.mark.parametrize("place", [Place(6, 1), Place(7, 3)])
def test_a_place_of_another_ring_is_a_gap_before_all_there_is(place):
    page = published(EventRing(7), 1, 2).after(place)
    assert ([event.seq for _, event in page.events], page.gap) == ([1, 2], True)


def test_a_full_ring_drops_the_oldest_and_says_so():
    ring = published(EventRing(7, max_events=2), 1, 2, 3)
    assert ring.after(Place(7, 0)).gap
    assert [event.seq for _, event in ring.after(Place(7, 0)).events] == [2, 3]
    assert not ring.after(Place(7, 1)).gap


def test_bytes_are_bounded_too():
    ring = EventRing(7, max_bytes=10_000)
    for number in range(1, 100):
        ring.publish("a", number, [happening(number, data="x" * 1000)])
    assert 5 <= len(ring.after(Place(7, 0)).events) <= 9
    ring.publish("a", 100, [happening(100, data="x" * 20_000)])
    assert ring.after(Place(7, 99)) == (Place(7, 100), [], True)


def test_pages_are_bounded():
    ring = EventRing(7)
    ring.publish("a", 1, [happening(n) for n in range(MAX_PAGE + 5)])
    first = ring.after(Place(7, 0))
    assert (len(first.events), first.place) == (MAX_PAGE, Place(7, MAX_PAGE))
    assert len(ring.after(first.place).events) == 5


def test_a_batch_that_is_repeated_or_late_is_taken_once():
    ring = EventRing(7)
    assert ring.publish("a", 1, [happening(1)])
    assert not ring.publish("a", 1, [happening(1)])
    assert ring.publish("a", 2, [happening(2)])
    assert not ring.publish("a", 1, [happening(1)])
    assert ring.publish("b", 1, [happening(3)])
    assert [event.data["number"] for _, event in ring.after(Place(7, 0)).events] == [1, 2, 3]


def test_what_a_sender_lost_is_a_gap_for_who_had_read_all_before():
    ring = published(EventRing(7), 1)
    ring.publish("a", 2, [happening(2)], lost=3)
    page = ring.after(Place(7, 1))
    assert ([event.data["number"] for _, event in page.events], page.gap) == ([2], True)
    assert not ring.after(page.place).gap


class Following(RuleBasedStateMachine):
    """A follower's pages, joined, are all that was published behind its place, unless there was a gap."""

    @initialize()
    def begin(self) -> None:
        self.incarnation, self.number = 0, 0
        self.renew()
        self.place: Place | None = None
        self.owed: list[int] | None = []  # None: some of it is lost, which has yet to be said

    @rule()
    def renew(self) -> None:
        """The broker's process dies."""
        self.incarnation += 1
        self.ring = EventRing(self.incarnation, max_events=5, max_bytes=4_000)
        self.sent: list[Published] = []
        self.batch = 0
        self.owed = None

    @rule(size=st.integers(0, 7), length=st.sampled_from([0, 10, 1500]))
    def publish(self, size: int, length: int) -> None:
        self.sent = [happening(self.number + n, data="x" * length) for n in range(size)]
        self.number += size
        self.batch += 1
        self.ring.publish("a", self.batch, self.sent)
        if self.owed is not None:
            self.owed += [each.data["number"] for each in self.sent]

    @rule()
    def publish_behind_a_loss(self) -> None:
        self.batch += 1
        self.ring.publish("a", self.batch, [], lost=1)
        self.owed = None

    @rule(late=st.integers(0, 3))
    def repeat(self, late: int) -> None:
        assert not self.ring.publish("a", self.batch - late, self.sent) or self.batch == 0

    @rule()
    def follow(self) -> None:
        page = self.ring.after(self.place)
        got = [event.data["number"] for _, event in page.events]
        assert got == sorted(set(got))
        if not page.gap:
            assert self.owed is not None, "what was lost is said"
            assert got == self.owed, "all of it, once, in order"
        self.owed = []
        self.place = page.place

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.ring.after(Place(self.incarnation, 0)).events) <= 5


TestFollowing = Following.TestCase
