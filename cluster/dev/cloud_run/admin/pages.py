"""Pages of a list. No I/O."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import NamedTuple

from cluster.dev.cloud_run.errors import invalid

LARGEST = 1000
_DEFAULT = 100


class Page(NamedTuple):
    """Which entries of the list a page has, and the token of the next one, empty for the last."""

    indexes: range
    next_token: str


def page(request: str, serials: Sequence[int], size: int, token: str) -> Page:
    """Return a page of a list whose entries' serial numbers fall; the token names the last one of a page.

    So what is deleted or created meanwhile neither hides nor repeats another. Raises ApiError.
    """
    if size < 0:
        raise invalid(f"{request}.page_size", "must not be negative.")
    begin = 0
    if token:
        try:
            last = int(base64.urlsafe_b64decode(token.encode()))
        except (ValueError, binascii.Error) as error:
            raise invalid(f"{request}.page_token", "is not one of this list.") from error
        begin = next((i for i, serial in enumerate(serials) if serial < last), len(serials))
    end = min(begin + min(size or _DEFAULT, LARGEST), len(serials))
    more = base64.urlsafe_b64encode(b"%d" % serials[end - 1]).decode() if end < len(serials) else ""
    return Page(range(begin, end), more)
