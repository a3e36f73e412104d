"""What sessions may reach, and what they did."""

from __future__ import annotations

from enum import StrEnum

from actors.core.records.base import Frozen, Record


class EgressPolicy(StrEnum):
    """Networks that a session may reach, the narrowest first."""

    NONE = "none"
    ALLOW_LIST = "allow-list"
    INTERNET = "internet"


class NetworkRecord(Record):
    """``(tenant, "networks", session_id)``: what a session's owner chose in place of the server's default."""

    session_id: str
    policy: EgressPolicy
    allow: tuple[str, ...] = ()
    updated_at: float


class Refused(Frozen):
    """A host that was refused, when (Unix time) at last, by which rule, in words, and how often in a row."""

    at: float
    host: str
    port: int
    rule: str
    reason: str
    count: int = 1


class EgressUse(Record):
    """``(tenant, "egress_use", session_id)``: what a session sent and received on a day of UTC, in bytes.

    ``refusals`` are the newest ones of any day, the newest first.
    """

    session_id: str
    day: str
    sent: int = 0
    received: int = 0
    connections: int = 0
    refused: int = 0
    refusals: tuple[Refused, ...] = ()
