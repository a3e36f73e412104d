"""The table of who is attached to a node's sessions: sockets by replica and session. Pure.

Replicas report what has changed, and the whole when this table asks for it: it is new, does not know the
replica, or missed a report. What a replica reported ends with it, ``ttl`` after its last report. Not to know
counts as attached: for the first ``ttl`` of a table every session is, until each replica has reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.core.errors.limits import TooManyRequests
from actors.core.records.attendance import AttendanceAnswer, AttendanceReport

MAX_REPLICAS = 100


@dataclass(slots=True)
class _Replica:
    number: int
    seen: float
    counts: dict[str, int] = field(default_factory=dict)


class Attendance:
    """The table. Times are monotonic seconds; ``began`` is when this ``incarnation`` began."""

    def __init__(self, incarnation: int, *, began: float, ttl: float) -> None:
        self._incarnation = incarnation
        self._known_from = began + ttl
        self._ttl = ttl
        self._replicas: dict[str, _Replica] = {}
        self._reports = 0

    def report(self, report: AttendanceReport, now: float) -> AttendanceAnswer:
        """Take a replica's report in. Raises TooManyRequests for one replica too many.

        One that comes behind a later one of its replica changes nothing.
        """
        self._expire(now)
        self._reports += 1
        replica = self._replicas.get(report.replica_id)
        if report.whole:
            if replica is None or report.number > replica.number:
                self._replace(report, now)
            return AttendanceAnswer(self._incarnation)
        if replica is not None:
            replica.seen = now
        follows = replica is not None and report.number == replica.number + 1
        if replica is None or not follows or report.incarnation != self._incarnation:
            return AttendanceAnswer(self._incarnation, whole_wanted=True)
        replica.number = report.number
        replica.counts |= report.counts
        for session_id, count in report.counts.items():
            if count <= 0:
                del replica.counts[session_id]
        return AttendanceAnswer(self._incarnation)

    def attached(self, session_id: str, now: float) -> int:
        """Return how many sockets a session has; at least 1 while that is not known."""
        self._expire(now)
        count = sum(replica.counts.get(session_id, 0) for replica in self._replicas.values())
        return max(count, int(now < self._known_from))

    def stats(self, now: float) -> Mapping[str, int]:
        """Return counters and gauges; see ``actors.core.statistics``."""
        self._expire(now)
        tables = [replica.counts for replica in self._replicas.values()]
        return {
            "attached_sockets": sum(sum(counts.values()) for counts in tables),
            "attached_sessions": len({session_id for counts in tables for session_id in counts}),
            "attendance_reports_total": self._reports,
        }

    def _replace(self, report: AttendanceReport, now: float) -> None:
        if report.replica_id not in self._replicas and len(self._replicas) >= MAX_REPLICAS:
            raise TooManyRequests("replicas", self._ttl)
        counts = {session_id: count for session_id, count in report.counts.items() if count > 0}
        self._replicas[report.replica_id] = _Replica(report.number, now, counts)

    def _expire(self, now: float) -> None:
        for replica_id, replica in list(self._replicas.items()):
            if now - replica.seen >= self._ttl:
                del self._replicas[replica_id]
