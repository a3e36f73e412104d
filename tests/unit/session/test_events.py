"""The ring of a session's events."""

from __future__ import annotations

from actors.session.events import MAX_PAGE, EventRing


def test_events_are_numbered_from_one_and_read_from_where_the_reader_was():
    ring = EventRing(7)
    for number in range(3):
        ring.append("status", {"n": number}, 1.0)
    assert [event.seq for event in ring.since(7, 1)] == [2, 3]
    assert ring.since(7, 3) == []


def test_a_reader_of_another_activation_starts_over():
    ring = EventRing(7)
    ring.append("status", {}, 1.0)
    assert [event.seq for event in ring.since(6, 1)] == [1]
    assert [event.seq for event in ring.since(None, 0)] == [1]
    assert [event.seq for event in ring.since(7, 99)] == [1]


def test_the_oldest_events_are_dropped_and_the_gap_is_visible():
    ring = EventRing(1, limit=4)
    for _ in range(10):
        ring.append("status", {}, 1.0)
    assert [event.seq for event in ring.since(1, 2)] == [7, 8, 9, 10]


def test_a_page_is_bounded_and_the_next_one_continues():
    ring = EventRing(1)
    for _ in range(MAX_PAGE + 10):
        ring.append("status", {}, 1.0)
    page = ring.since(1, 0)
    assert len(page) == MAX_PAGE
    assert len(ring.since(1, page[-1].seq)) == 10
