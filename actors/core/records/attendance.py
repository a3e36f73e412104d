"""Who is attached to the sessions of a node, as replicas of the ingress report it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class AttendanceReport(NamedTuple):
    """How many sockets of a replica are attached to each session; 0: none any more.

    ``whole``: to all that have any, in place of what was reported before; otherwise only what has changed,
    in the table of ``incarnation``, since the report before. ``number`` grows by one with each report.
    """

    replica_id: str
    number: int
    counts: Mapping[str, int]
    incarnation: int | None = None
    whole: bool = False


class AttendanceAnswer(NamedTuple):
    """The table's incarnation. ``whole_wanted``: the report was of no use without the whole."""

    incarnation: int
    whole_wanted: bool = False
