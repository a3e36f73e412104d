"""RFC 9110's conditions and ranges as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.codi.conditions import Malformed, State, Unsatisfiable, Verdict, judge, span

AT = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
FILE = State('"a"', AT + 0.5)
GO, SAME, NO = Verdict.PROCEED, Verdict.NOT_MODIFIED, Verdict.FAILED


@pytest.mark.parametrize(
    ("fields", "reads", "writes", "makes"),
    [
        # fields, verdict of a GET, of a PUT over the file, of a PUT where there is none
        ({}, GO, GO, GO),
        ({"if-match": '"a"'}, GO, GO, NO),
        ({"if-match": '"b"'}, NO, NO, NO),
        ({"if-match": '"b", "a"'}, GO, GO, NO),
        ({"if-match": '"b","c" ,"a"'}, GO, GO, NO),
        ({"if-match": ', "a",,'}, GO, GO, NO),
        ({"if-match": "*"}, GO, GO, NO),
        ({"if-match": " * "}, GO, GO, NO),
        ({"if-match": 'W/"a"'}, NO, NO, NO),  # strong comparison
        ({"if-match": 'W/"a", "a"'}, GO, GO, NO),
        ({"if-match": '"b,a"'}, NO, NO, NO),  # a comma in a tag is the tag's
        ({"if-none-match": '"a"'}, SAME, NO, GO),
        ({"if-none-match": '"b"'}, GO, GO, GO),
        ({"if-none-match": '"b", "a"'}, SAME, NO, GO),
        ({"if-none-match": 'W/"a"'}, SAME, NO, GO),  # weak comparison
        ({"if-none-match": "*"}, SAME, NO, GO),
        ({"if-modified-since": DATE}, SAME, GO, GO),
        ({"if-modified-since": LATER}, SAME, GO, GO),
        ({"if-modified-since": BEFORE}, GO, GO, GO),
        ({"if-modified-since": "Sunday, 06-Nov-94 08:49:37 GMT"}, SAME, GO, GO),
        ({"if-modified-since": "Sun Nov  6 08:49:37 1994"}, SAME, GO, GO),
        ({"if-modified-since": "yesterday"}, GO, GO, GO),
        ({"if-modified-since": DATE, "if-none-match": '"b"'}, GO, GO, GO),
        ({"if-unmodified-since": DATE}, GO, GO, GO),
        ({"if-unmodified-since": LATER}, GO, GO, GO),
        ({"if-unmodified-since": BEFORE}, NO, NO, GO),
        ({"if-unmodified-since": "tomorrow"}, GO, GO, GO),
        ({"if-unmodified-since": BEFORE, "if-match": '"a"'}, GO, GO, NO),
        ({"if-match": '"b"', "if-none-match": '"a"'}, NO, NO, NO),
        ({"if-match": '"a"', "if-none-match": '"a"'}, SAME, NO, NO),
    ],
)
def test_conditions(fields, reads, writes, makes):
    assert judge("GET", fields, FILE) is reads
    assert judge("HEAD", fields, FILE) is reads
    assert judge("PUT", fields, FILE) is writes
    assert judge("DELETE", fields, FILE) is writes
    assert judge("PUT", fields, None) is makes


@pytest.mark.parametrize("field", ["a", "", '"a', 'a"', '"a" "b"', "*, *", 'w/"a"', '"a"b'])
def test_a_list_that_is_none_protects_nothing(field):
    for method in ("GET", "PUT", "DELETE"):
        with pytest.raises(Malformed):
            judge(method, {"if-match": field}, FILE)
    with pytest.raises(Malformed):
        judge("PUT", {"if-none-match": field}, FILE)
    assert judge("GET", {"if-none-match": field}, FILE) is GO


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-4", (2, 5)),
        ("bytes=2-", (2, 10)),
        ("bytes=2-99", (2, 10)),
        ("bytes=9-9", (9, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("BYTES=2-4", (2, 5)),
        ("bytes= 2-4 ", (2, 5)),
        ("bytes=0-" + "9" * 40, (0, 10)),
        ("bytes=-" + "9" * 5000, (0, 10)),
        ("bytes=0-2,3-5", (0, 6)),  # they touch
        ("bytes=4-5,0-4", (0, 6)),  # in any order
        ("bytes=0-1,90-", (0, 2)),  # what is not there is left out
        ("bytes=,0-1,", (0, 2)),
        ("bytes=0-0,2-2", None),  # several parts: the whole file
        ("bytes=" + ",".join(["0-1"] * 101), None),
        ("bytes=4-2", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes=a-b", None),
        ("bytes=1-2-3", None),
        ("bytes 1-2", None),
        ("items=1-2", None),
        ("bytes=٣-٤", None),
        (None, None),
    ],
)
def test_ranges(field, part):
    fields = {} if field is None else {"range": field}
    assert span(fields, FILE, 10, AT + 100) == part


@pytest.mark.parametrize("field", ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=90-,99-99"])
def test_ranges_of_what_is_not_there(field):
    with pytest.raises(Unsatisfiable) as refused:
        span({"range": field}, FILE, 10, AT + 100)
    assert refused.value.size == 10


def test_ranges_of_an_empty_file():
    with pytest.raises(Unsatisfiable):
        span({"range": "bytes=0-"}, FILE, 0, AT + 100)
    assert span({"range": "bytes=-5"}, FILE, 0, AT + 100) is None


@pytest.mark.parametrize(
    ("if_range", "now", "held"),
    [
        ('"a"', AT, True),
        ('"b"', AT, False),
        ('W/"a"', AT, False),
        ('"a", "b"', AT, False),
        ("*", AT, False),
        (DATE, AT + 100, True),
        (DATE, AT + 1, False),  # it may have changed twice within its second
        (LATER, AT + 100, False),
        (BEFORE, AT + 100, False),
        ("nonsense", AT + 100, False),
    ],
)
def test_a_part_is_sent_only_of_the_file_that_the_rest_is_of(if_range, now, held):
    found = span({"range": "bytes=2-4", "if-range": if_range}, FILE, 10, now)
    assert found == ((2, 5) if held else None)


def test_a_weak_tag_continues_nothing():
    weak = State('W/"a"', AT)
    assert span({"range": "bytes=2-4", "if-range": 'W/"a"'}, weak, 10, AT + 100) is None
    assert judge("PUT", {"if-match": 'W/"a"'}, weak) is NO


def test_a_date_has_whole_seconds():
    assert FILE.last_modified == DATE


@given(st.integers(0, 100), st.integers(0, 120), st.integers(0, 120))
def test_a_range_is_what_slicing_gives(size, first, last):
    content, fields = bytes(range(size)), {"range": f"bytes={first}-{last}"}
    if first > last:
        assert span(fields, FILE, size, AT) is None
    elif first >= size:
        with pytest.raises(Unsatisfiable):
            span(fields, FILE, size, AT)
    else:
        begin, end = span(fields, FILE, size, AT)
        assert content[begin:end] == content[first : last + 1] != b""
