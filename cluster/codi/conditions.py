"""Conditional requests and ranges, as RFC 9110 (sections 8.8, 13 and 14) has them. Pure.

Fields are a mapping of lower-case names; several lines of one name are joined by commas beforehand.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")

_TAG = re.compile(r'[ \t,]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)')
_RANGE = re.compile(r"[ \t]*(?:(\d+)-(\d*)|-(\d+))[ \t]*", re.ASCII)
_MAX_RANGES = 100
_MAX_DIGITS = 18
_STRONG_AFTER_SECONDS = 2.0


class State(NamedTuple):
    """A file's validators: its entity tag, quoted, and its time of change in Unix seconds."""

    etag: str
    mtime: float

    @property
    def last_modified(self) -> str:
        """The HTTP date, which has whole seconds."""
        from email.utils import formatdate  # noqa: PLC0415 - half a megabyte that few containers need

        return formatdate(math.floor(self.mtime), usegmt=True)


class Verdict(Enum):
    """The outcome of a request's conditions."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


class Malformed(ValueError):
    """A field is not what its grammar allows; the text begins with its name."""


class Unsatisfiable(Exception):
    """No byte that was asked for is in the file, which has ``size`` bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def judge(method: str, fields: Mapping[str, str], state: State | None) -> Verdict:
    """Weigh a request's conditions in the order of RFC 9110, 13.2.2; ``state`` None: no file is there.

    Raises Malformed for a tag list that is none, since what it was to protect would be lost; a reader is
    only sent more than need be, so ``If-None-Match`` is ignored then.
    """
    reading = method in {"GET", "HEAD"}
    if (field := fields.get("if-match")) is not None:
        if state is None or not _names("if-match", field, state.etag, weak=False):
            return Verdict.FAILED
    else:
        date = _date(fields.get("if-unmodified-since"))
        if date is not None and state is not None and math.floor(state.mtime) > date:
            return Verdict.FAILED
    if (field := fields.get("if-none-match")) is not None:
        try:
            found = _names("if-none-match", field, state.etag if state else "", weak=True)
        except Malformed:
            if not reading:
                raise
            found = False
        if found and state is not None:
            return Verdict.NOT_MODIFIED if reading else Verdict.FAILED
    elif reading and state is not None:
        date = _date(fields.get("if-modified-since"))
        if date is not None and math.floor(state.mtime) <= date:
            return Verdict.NOT_MODIFIED
    return Verdict.PROCEED


def span(fields: Mapping[str, str], state: State, size: int, now: float) -> tuple[int, int] | None:
    """Return the part of a file that a GET is answered with, its end excluded; None for all of it.

    Several ranges that touch are one; others are answered with the whole file, as are units, ranges and
    ``If-Range`` that are not understood or do not hold (14.2). Raises Unsatisfiable.
    """
    wanted = fields.get("range")
    if wanted is None or not _may_continue(fields.get("if-range"), state, now):
        return None
    unit, _, rest = wanted.strip().partition("=")
    if unit.lower() != "bytes":
        return None
    spans = _spans(rest, size)
    if spans is None:
        return None
    if not spans:
        raise Unsatisfiable(size)
    start, end = spans[0]
    for begin, until in spans[1:]:
        if begin > end:
            return None
        end = max(end, until)
    return start, end


def _spans(ranges: str, size: int) -> list[tuple[int, int]] | None:
    """Return what is there of a list of ranges, in order; None when one of them is none."""
    asked = [each for each in ranges.split(",") if each.strip()]
    if not 0 < len(asked) <= _MAX_RANGES:
        return None
    spans = []
    for each in asked:
        match = _RANGE.fullmatch(each)
        if match is None:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            if not size and _number(suffix):
                return None  # the last bytes of nothing are all of it
            start, end = max(size - _number(suffix), 0), size
        else:
            start, end = _number(first), min(_number(last) + 1, size) if last else size
            if last and _number(last) < start:
                return None
        if start < end:
            spans.append((start, end))
    return sorted(spans)


def _may_continue(if_range: str | None, state: State, now: float) -> bool:
    """Return whether a part may be sent: the file is the one that the rest is had of (13.1.5)."""
    if if_range is None:
        return True
    value = if_range.strip()
    if '"' in value:
        return value == state.etag and not state.etag.startswith("W/")
    # A date is strong only if the file cannot have changed again within its second (8.8.2.2).
    changed = math.floor(state.mtime)
    return _date(value) == changed and now - changed >= _STRONG_AFTER_SECONDS


def _names(name: str, field: str, etag: str, *, weak: bool) -> bool:
    """Return whether a list of tags names this one; ``*`` names any."""
    if field.strip() == "*":
        return True
    position, found, any_tag = 0, False, False
    while (match := _TAG.match(field, position)) is not None:
        position, any_tag = match.end(), True
        if match[2] == etag.removeprefix("W/"):
            found = found or weak or not (match[1] or etag.startswith("W/"))
    if not any_tag or field[position:].strip(" \t,"):
        raise Malformed(f'{name}: a list of quoted entity tags, or "*"')
    return found


def _date(field: str | None) -> int | None:
    """Return an HTTP date (5.6.7) in Unix seconds; None for what is none, which is ignored."""
    if not field:
        return None
    from calendar import timegm  # noqa: PLC0415 - as above
    from email.utils import parsedate_tz  # noqa: PLC0415

    parsed = parsedate_tz(field)
    if parsed is None or parsed[9] not in {0, None}:
        return None
    try:
        return timegm((*parsed[:6], 0, 1, 0))
    except (ValueError, OverflowError):
        return None


def _number(digits: str) -> int:
    """Return a number; one that is larger than any file is as good as another."""
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS
