"""Names as they stand in a URL of the API, and the bodies that hold them. Pure.

URL libraries resolve ``.`` and ``..`` before they send (RFC 3986, 5.2.4), quoted or not: a name that
consists of them would address something else, so none is sent. A name of the workspace that is no UTF-8
is a text with surrogate escapes (PEP 383), as ``os.fsdecode`` makes it: the same in every call and answer.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from coditect.errors import InvalidRequest

_DOTS = frozenset({".", ".."})


def segment(name: str, what: str = "name") -> str:
    """Return a name as one segment of a URL, slashes included. Raises InvalidRequest."""
    if not name or name in _DOTS:
        raise _refused(what, f"{name!r} is not a name")
    return quote(_encoded(name, what), safe="")


def path(name: str, what: str = "path") -> str:
    """Return a path in the workspace as the rest of a URL; its slashes stay. Raises InvalidRequest."""
    if not _DOTS.isdisjoint(name.split("/")):
        raise _refused(what, '"." and ".." are not allowed in a path')
    return quote(_encoded(name, what), safe="/")


def session(session_id: str, rest: str = "") -> str:
    """Return the path of a session's part of the API."""
    place = f"/api/v1/sessions/{segment(session_id, 'session_id')}"
    return f"{place}/{rest}" if rest else place


def file_path(name: str) -> str:
    """Return the path of a file in the workspace, quoted. Raises InvalidRequest when there is none."""
    if not name.strip("/"):
        raise _refused("path", "the path of a file in the workspace")
    return path(name)


def file(session_id: str, name: str) -> str:
    """Return the path of a session's file."""
    return session(session_id, f"files/{file_path(name)}")


def value(text: str) -> str:
    """Return a name as the value of a query's parameter. Raises InvalidRequest."""
    return quote(_encoded(text, "name"), safe="")


def body(value: Any) -> bytes:
    """Return JSON in ASCII: escapes carry names that are no UTF-8, which httpx's own would refuse."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _encoded(name: str, what: str) -> bytes:
    if "\0" in name:
        raise _refused(what, "a name holds no NUL")
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _refused(what, "a surrogate that stands for no byte") from None


def _refused(what: str, reason: str) -> InvalidRequest:
    detail = f"{what}: {reason}"
    return InvalidRequest(400, "invalid_argument", detail, {"field": what, "detail": detail})
