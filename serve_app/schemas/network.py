"""What a session may reach outside, and what it did."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from actors.core.records.egress import EgressPolicy, EgressUse, NetworkRecord, Refused
from cluster.egress.policy import MAX_ALLOW, Rules, in_force
from cluster.egress.rates import Limits
from serve_app.schemas.base import Asked, shared

Host = Annotated[str, Field(min_length=1, max_length=300)]


class ChangeNetwork(Asked):
    """The policy to have; ``allow`` is for ``allow-list``: ``name``, ``*.domain``, ``name:port``."""

    policy: EgressPolicy
    allow: Annotated[list[Host], Field(default_factory=list, max_length=MAX_ALLOW)]


class RefusedHost(BaseModel):
    """A host that was refused, when at last (Unix time), by which rule, in words, and how often."""

    at: float
    host: str
    port: int
    rule: str
    reason: str
    count: int

    @classmethod
    def of(cls, refused: Refused) -> RefusedHost:
        """Return what the store has."""
        return cls(**shared(refused, cls))


class NetworkToday(BaseModel):
    """What a session did on a day of UTC: bytes to and from outside, connections, refusals."""

    day: str
    sent: int
    received: int
    connections: int
    refused: int


class NetworkLimits(BaseModel):
    """Limits of a session; null: none. Bytes count both ways."""

    connections: int
    bytes_per_second: int | None
    bytes_per_day: int | None


class Network(BaseModel):
    """What a session may reach. ``chosen``: by its owner, else it is the server's default.

    ``allow`` counts for ``allow-list``. ``limit`` is the most that may be chosen; ``server_allow`` is the
    server's own list, which bounds all where the limit is ``allow-list``. ``server_hosts`` are reached by
    every session with a network. ``today`` and ``refusals``, the newest first, are some seconds behind.
    """

    policy: EgressPolicy
    allow: list[str]
    chosen: bool
    limit: EgressPolicy
    server_allow: list[str]
    server_hosts: list[str]
    limits: NetworkLimits
    today: NetworkToday
    refusals: list[RefusedHost]

    @classmethod
    def of(
        cls,
        rules: Rules,
        limits: Limits,
        chosen: NetworkRecord | None,
        used: EgressUse | None,
        day: str,
    ) -> Network:
        """Return what counts for a session on a day."""
        choice = in_force(rules, chosen)
        today = used if used is not None and used.day == day else EgressUse(session_id="", day=day)
        return cls(
            policy=choice.policy,
            allow=[str(host) for host in choice.allow],
            chosen=chosen is not None,
            limit=rules.limit,
            server_allow=[str(host) for host in rules.allow],
            server_hosts=[str(host) for host in rules.hosts],
            limits=NetworkLimits(
                connections=limits.connections,
                bytes_per_second=limits.rate or None,
                bytes_per_day=limits.day or None,
            ),
            today=NetworkToday(**shared(today, NetworkToday)),
            refusals=[RefusedHost.of(each) for each in used.refusals] if used else [],
        )
