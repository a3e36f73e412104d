"""Pages and changes give what a whole read at one moment gives; what is missed shows as a gap."""

from __future__ import annotations

from actors.core.view import News, Page, Question, RecordView


def listed(records, *, place=b"1", after=None, last=None):
    return News(place, page=Page(after, last, records))


def test_a_new_view_asks_for_the_first_page():
    view = RecordView()
    assert view.question() == Question(None, listing=True, after=None)
    assert not view.is_current


def test_it_is_current_with_the_last_page():
    view = RecordView()
    view.apply(listed({"a": 1, "b": 1}, last="b"))
    assert not view.is_current
    assert view.question() == Question(b"1", listing=True, after="b")
    view.apply(listed({"c": 1}, after="b"))
    assert view.is_current
    assert view.question() == Question(b"1", listing=False, after=None)
    assert view.records == {"a": 1, "b": 1, "c": 1}


def test_changes_set_and_remove_records():
    view = RecordView()
    view.apply(listed({"a": 1, "b": 1}))
    view.apply(News(b"3", {"a": 2, "b": None, "c": 1, "d": None}))
    assert view.records == {"a": 2, "c": 1}
    assert view.question().place == b"3"


def test_it_is_not_current_while_there_are_more_changes():
    view = RecordView()
    view.apply(listed({}))
    view.apply(News(b"2", {"a": 1}, more=True))
    assert not view.is_current
    view.apply(News(b"3", {"b": 1}))
    assert view.is_current


def test_a_gap_has_everything_listed_again_and_what_is_gone_goes():
    view = RecordView()
    view.apply(listed({"a": 1, "b": 1, "z": 1}))
    view.apply(News(b"9", gap=True))
    assert not view.is_current
    assert view.question() == Question(b"9", listing=True, after=None)
    view.apply(listed({"a": 2}, place=b"9", last="m"))
    assert view.records == {"a": 2, "z": 1}
    view.apply(listed({}, place=b"9", after="m"))
    assert view.records == {"a": 2}
    assert (view.gaps, view.repairs) == (1, 0)


def test_a_list_meanwhile_leaves_it_current_and_counts_what_it_had_to_repair():
    view = RecordView()
    view.apply(listed({"a": 1, "b": 1, "c": 1}))
    view.list_again()
    assert view.is_current
    view.apply(listed({"a": 1, "b": 2}))
    assert view.records == {"a": 1, "b": 2}
    assert view.repairs == 2


def test_a_page_that_is_ahead_of_the_changes_is_no_repair():
    view = RecordView()
    view.apply(listed({"a": 1}))
    view.list_again()
    view.apply(News(b"2", {}, more=True, page=Page(None, None, {"a": 2})))
    assert view.repairs == 0
