"""When people used their sessions is written once a minute, and again when it could not be."""

from __future__ import annotations

import pytest

from actors.core.errors.base import Unavailable
from serve_app.sessions import activity
from serve_app.sessions.activity import ActivityNotes
from tests.fakes.pool_fakes import ManualClock


class Book:
    """The part of a ledger that notes need."""

    def __init__(self) -> None:
        self.written: list[tuple[list[str], float]] = []
        self.away = False

    async def note_activity(self, session_ids: list[str], now: float) -> None:
        if self.away:
            raise Unavailable("store", "away")
        self.written.append((list(session_ids), now))


@pytest.fixture
def noted():
    book, clock = Book(), ManualClock(1000.0)
    return ActivityNotes(book, clock), book, clock


async def test_a_session_is_written_once_a_minute(noted):
    notes, book, clock = noted
    for session_id in ("s1", "s2", "s1"):
        notes.note(session_id)
    await notes.write()
    notes.note("s1")
    await notes.write()
    assert book.written == [(["s1", "s2"], 1000.0)]
    clock.advance(activity.PRECISION_SECONDS + 1)
    notes.note("s1")
    await notes.write()
    assert book.written[1:] == [(["s1"], 1061.0)]


async def test_what_could_not_be_written_is_written_later(noted):
    notes, book, _ = noted
    notes.note("s1")
    book.away = True
    with pytest.raises(Unavailable):
        await notes.write()
    book.away = False
    await notes.write()
    assert book.written == [(["s1"], 1000.0)]


async def test_many_are_written_in_pages_and_no_more_are_kept_than_there_is_room(
    noted, monkeypatch
):
    notes, book, _ = noted
    monkeypatch.setattr(activity, "PAGE", 2)
    monkeypatch.setattr(activity, "MAX_NOTED", 5)
    for number in range(9):
        notes.note(f"s{number}")
    await notes.write()
    assert [page for page, _ in book.written] == [["s0", "s1"], ["s2", "s3"], ["s4"]]
