"""Nodes: their record, and what each has room for."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from actors.core.records.base import Frozen, Record

LEAVING = "a node that is being emptied"
"""What is ``Busy`` when a node that has not joined, or does so no more, is to open a session."""


class NodeState(StrEnum):
    """Stages of a node's life. ``DRAINED``: no session is there any more, and none comes."""

    JOINED = "joined"
    DRAINING = "draining"
    DRAINED = "drained"


class NodeRecord(Record):
    """``(tenant, "nodes", node_id)``: a machine that joined the head, as it said itself.

    ``ray_node_id`` is Ray's id of it, another one each time it joins. ``settings`` are those of its actors,
    without secrets. ``ready_at``: when all of its actors answered (Unix time). ``moving``: the sessions that
    were put to sleep so as to be moved away, and do not run elsewhere yet.
    """

    node_id: str
    ray_node_id: str
    address: str
    version: str
    labels: dict[str, str] = {}
    settings: dict[str, Any] = {}
    state: NodeState = NodeState.JOINED
    joined_at: float
    ready_at: float | None = None
    moving: tuple[str, ...] = ()


class NodeView(Frozen):
    """A node as placement and operators see it.

    ``alive``: Ray and its pool answer for it. ``gone``: Ray has given it up, or it has left. ``warm``
    containers are ready there, ``containers`` run in all, over ``cpus``; ``memory_free`` is a share.
    """

    node_id: str
    address: str
    is_head: bool
    state: NodeState
    alive: bool
    gone: bool = False
    labels: dict[str, str] = {}
    version: str = ""
    joined_at: float | None = None
    warm: int = 0
    containers: int = 0
    cpus: int = 1
    memory_free: float = 1.0
