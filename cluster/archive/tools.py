"""Tools and counters that the followers of a node share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from actors.core.ports.clock import Clock
from actors.core.ports.events import EventPublisher
from actors.core.quotas import Quotas
from actors.core.statistics import Histogram
from cluster.archive.fair_turns import FairTurns
from cluster.blobs import Blobs
from cluster.codi.feed_client import FeedClient
from cluster.store.engines.interface import Engine
from cluster.store.layers.keyspace import Keyspace


@dataclass(frozen=True, slots=True)
class Tools:
    """Tools of a follower.

    ``turns`` bound how many rounds are at work at once, ``large_turns`` how many pieces of large files are
    read, ``restore_turns`` how many steps of restores are made: none of them waits for another kind.
    ``quotas`` are the limits of users who have no others.
    """

    engine: Engine
    keys: Keyspace
    blobs: Blobs
    client: FeedClient
    events: EventPublisher
    clock: Clock
    new_id: Callable[[str], str]
    max_file: int
    turns: FairTurns = field(default_factory=lambda: FairTurns(8))
    large_turns: FairTurns = field(default_factory=lambda: FairTurns(2))
    restore_turns: FairTurns = field(default_factory=lambda: FairTurns(4))
    quotas: Quotas = field(default_factory=Quotas)


class Counters:
    """Counters of all followers of a node together."""

    def __init__(self) -> None:
        self.versions = self.files = self.gone = self.read_bytes = self.new_bytes = 0
        self.unsteady = self.unreadable = self.saves = self.rounds = self.restored = 0
        self.save_seconds = Histogram()
        self.round_seconds = Histogram()
