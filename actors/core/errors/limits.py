"""Errors of having, or sending, as much as is allowed."""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors.base import CoditectError


class WorkspaceFull(CoditectError):
    """The disk that a workspace lies on is full; the file that was being saved is unchanged."""

    code = "disk_full"
    text = "workspace disk is full"


@dataclass(eq=False)
class DiskQuotaExceeded(WorkspaceFull):
    """The container's disk has no more room: ``container_disk`` (bytes) or ``container_inodes`` (files)."""

    code = "disk_quota_exceeded"

    resource: str
    used: int
    limit: int

    def __str__(self) -> str:
        kind = "files" if self.resource == "container_inodes" else "bytes"
        return (
            f"the container's disk is full: {self.used} of {self.limit} {kind}; deleting makes room"
        )


@dataclass(eq=False)
class QuotaExceeded(CoditectError):
    """A user may not have more of a resource (``actors.core.quotas.Resource``): ``needed`` does not fit.

    ``unkept``: a file lies in its workspace by now, and is not kept beyond it.
    """

    code = "quota_exceeded"

    resource: str
    used: int
    limit: int
    needed: int
    unkept: bool = False

    def __str__(self) -> str:
        what = self.resource.replace("_", " ")
        text = (
            f"quota of {what} exceeded: {self.used} of {self.limit} used, {self.needed} more needed"
        )
        return text + ("; the file is in the workspace, but not kept" if self.unkept else "")


class ContainersExceeded(QuotaExceeded):
    """A user has as many containers as are allowed; ``sessions`` names whose they are."""

    def __init__(self, used: int, limit: int, sessions: tuple[str, ...]) -> None:
        super().__init__("containers", used, limit, 1)
        self.args = (used, limit, sessions)
        self.sessions = sessions

    def __str__(self) -> str:
        names = ", ".join(self.sessions[:5]) + (" …" if len(self.sessions) > 5 else "")
        return (
            f"{self.used} of {self.limit} containers are in use (by {names}): hibernate or end"
            " one of these sessions"
        )


@dataclass(eq=False)
class TooManyRequests(CoditectError):
    """The caller sent too much; wait ``retry_after_seconds``."""

    code = "too_many_requests"
    retryable = True
    text = "too many {what}; try again in {retry_after_seconds:.0f} s"

    what: str
    retry_after_seconds: float
