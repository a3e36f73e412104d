"""A view of records: a whole list, read page by page, and whatever has changed since. Pure.

``place`` is where the view stands in the feed of its records, in the order of their commits; a clock has
no part in it. For every record that no change after ``place`` names the view has what the store has:

* a page or a change is read together with the feed, at one moment, so it is newer than all before it;
* a list may thus be read over any time, with changes between its pages;
* when changes after ``place`` have been forgotten, everything is listed again, and until that is done
  the view is not ``current``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """All records whose ids come after ``after``, up to ``last``; None: from the first, to the end."""

    after: str | None
    last: str | None
    records: Mapping[str, R]

    def covers(self, record_id: str) -> bool:
        """Return whether a record with this id would be in the page."""
        return (self.after is None or record_id > self.after) and (
            self.last is None or record_id <= self.last
        )


@dataclass(frozen=True, slots=True)
class Question:
    """What a view lacks: changes after ``place``, and when it is ``listing``, the page after ``after``."""

    place: bytes | None
    listing: bool
    after: str | None


@dataclass(frozen=True, slots=True)
class News(Generic[R]):
    """The answer, all of it as of one moment. ``place`` is that of the last change in it.

    ``changes`` has the records that were written since the question's place, None for one that is gone;
    there are ``more``, or there is a ``gap``: some are not known any more, and then none is given.
    """

    place: bytes | None
    changes: Mapping[str, R | None] = field(default_factory=dict)
    more: bool = False
    gap: bool = False
    page: Page[R] | None = None


class RecordView(Generic[R]):
    """Records by id. Ask ``question``, apply the answer, in turns, until it is ``current``.

    ``gaps`` counts the times when it was too late for the changes; ``repairs`` records of later lists that
    differed from what the view had, which says that a change was not in the feed.
    """

    def __init__(self) -> None:
        self.records: dict[str, R] = {}
        self.gaps = 0
        self.repairs = 0
        self._place: bytes | None = None
        self._after: str | None = None
        self._listing = True
        self._whole = False
        self._more = False

    @property
    def place(self) -> bytes | None:
        """Where it stands in the feed."""
        return self._place

    @property
    def is_current(self) -> bool:
        """Whether it is as the store was when the last answer was given."""
        return self._whole and not self._more

    @property
    def is_listing(self) -> bool:
        """Whether pages are still to come."""
        return self._listing

    def list_again(self) -> None:
        """Ask for every page once more, with the next questions."""
        self._listing, self._after = True, None

    def question(self) -> Question:
        """Return what is to be asked next."""
        return Question(self._place, self._listing, self._after)

    def apply(self, news: News[R]) -> None:
        """Take an answer to the last ``question`` over."""
        self._place, self._more = news.place, news.more
        if news.gap:
            self.gaps += self._whole
            self._whole = False
            self.list_again()
            return
        for record_id, record in news.changes.items():
            self._put(record_id, record)
        if news.page is not None:
            self._take_page(news.page)

    def _take_page(self, page: Page[R]) -> None:
        known = {i for i in self.records if page.covers(i)}
        for record_id in known | page.records.keys():
            record = page.records.get(record_id)
            self.repairs += self.is_current and self.records.get(record_id) != record
            self._put(record_id, record)
        self._after = page.last
        if page.last is None:
            self._listing, self._whole = False, True

    def _put(self, record_id: str, record: R | None) -> None:
        if record is None:
            self.records.pop(record_id, None)
        else:
            self.records[record_id] = record
