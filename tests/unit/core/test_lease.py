"""Two owners of one session that act at will, in a world of slow messages, pauses and bad clocks.

The world is simulated: real time is a number, each actor's clock runs at a rate of its own within the
drift that the rules allow, messages take any time, and an actor may be stopped at any point for any
time. The store and CODI check epochs as the real ones do. ``Lease`` and ``LeaseWatch`` are the real ones.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from actors.core.lease import MAX_WATCHED, Lease, LeaseRules, LeaseWatch

RULES = LeaseRules(seconds=10.0, drift=0.05)
SEEDS = 1000
END = 240.0


class World:
    """Real time and what is to happen; a store with one session, and the CODI of its container."""

    def __init__(self, seed: int, rules: LeaseRules) -> None:
        self.chance = random.Random(seed)
        self.rules = rules
        self.now = 0.0
        self.owner = "a"
        self.epoch = 1
        self.token = "1/0"
        self.codi_epoch = 0
        self.written: list[tuple[str, int]] = []
        self.codi_served: list[tuple[str, int]] = []
        self.acted: list[tuple[float, str, int]] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._numbers), do))

    def send(self, do: Callable[[], None]) -> None:
        """Deliver a message: mostly at once, sometimes late, sometimes never."""
        kind = self.chance.random()
        if kind < 0.9:
            late = kind > 0.75
            self.later(self.chance.uniform(0, 15 if late else 0.1), do)

    def run(self) -> None:
        while self._queue and self.now < END:
            self.now, _, do = heapq.heappop(self._queue)
            do()

    # ---- the store and CODI: each call is one step ----------------------------------------------

    def renew(self, who: str, epoch: int) -> bool:
        if (self.owner, self.epoch) != (who, epoch):
            return False
        self.token = f"{epoch}/{next(self._numbers)}"
        return True

    def write(self, who: str, epoch: int) -> bool:
        if (self.owner, self.epoch) != (who, epoch):
            return False
        self.written.append((who, epoch))
        return True

    def take_over(self, who: str, token: str) -> int | None:
        if self.token != token or self.owner == who:
            return None
        self.owner, self.epoch = who, self.epoch + 1
        self.token = f"{self.epoch}/0"
        return self.epoch

    def codi(self, who: str, epoch: int) -> bool:
        if epoch < self.codi_epoch:
            return False
        self.codi_epoch = epoch
        self.codi_served.append((who, epoch))
        return True


@dataclass
class Actor:
    """Owns when it may, acts as it likes, and is stopped now and then."""

    name: str
    world: World
    rate: float = 1.0
    epoch: int | None = None
    lease: Lease = field(init=False)
    watch: LeaseWatch = field(init=False)
    stopped_until: float = 0.0

    def __post_init__(self) -> None:
        self.lease = Lease(self.world.rules)
        self.watch = LeaseWatch(self.world.rules)
        self.awake(0.0, self.live)

    @property
    def clock(self) -> float:
        return self.world.now * self.rate

    def awake(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something after that time, or when the process runs again."""

        def attempt() -> None:
            if self.world.now < self.stopped_until:
                self.world.later(self.stopped_until - self.world.now, attempt)
            else:
                do()

        self.world.later(seconds, attempt)

    def live(self) -> None:
        chance = self.world.chance
        if chance.random() < 0.03:
            self.stopped_until = self.world.now + chance.uniform(0, 40)
        if self.epoch is None:
            self.look()
        else:
            if chance.random() < 0.6:
                self.renew(self.epoch)
            self.act(self.epoch)
        self.awake(chance.uniform(0.05, 4), self.live)

    def renew(self, epoch: int) -> None:
        sent_at = self.clock
        self.world.send(lambda: self._renewed(epoch, sent_at, self.world.renew(self.name, epoch)))

    def _renewed(self, epoch: int, sent_at: float, ok: bool) -> None:
        def heard() -> None:
            if self.epoch == epoch:
                if ok:
                    self.lease.renewed(sent_at)
                else:
                    self.let_go()

        self.world.send(lambda: self.awake(0, heard))

    def act(self, epoch: int) -> None:
        """Write, speak with CODI, and do what nobody checks but the lease."""
        world = self.world

        def refused(ok: bool) -> None:
            if not ok:
                self.awake(0, lambda: self.let_go() if self.epoch == epoch else None)

        world.send(lambda: refused(world.write(self.name, epoch)))
        world.send(lambda: refused(world.codi(self.name, epoch)))
        if self.lease.holds(self.clock):
            world.acted.append((world.now, self.name, epoch))

    def let_go(self) -> None:
        self.epoch = None
        self.lease = Lease(self.world.rules)

    def look(self) -> None:
        def read() -> None:
            token = self.world.token
            self.world.send(lambda: self.awake(0, lambda: self.judge(token)))

        self.world.send(read)

    def judge(self, token: str) -> None:
        if self.epoch is None and self.watch.has_lapsed("s", token, self.clock):
            self.world.send(lambda: self.won(self.world.take_over(self.name, token)))

    def won(self, epoch: int | None) -> None:
        def heard() -> None:
            if epoch is not None:
                self.let_go()
                self.epoch = epoch

        self.world.send(lambda: self.awake(0, heard))


def simulate(seed: int, rules: LeaseRules = RULES) -> World:
    world = World(seed, rules)
    drift = rules.drift
    actors = [Actor(name, world, rate=world.chance.uniform(1 - drift, 1 + drift)) for name in "ab"]
    actors[0].epoch = 1
    world.run()
    return world


def check(world: World) -> None:
    for log in (world.written, world.codi_served):
        epochs = [epoch for _, epoch in log]
        assert epochs == sorted(epochs), "an older owner was served after a newer one"
    owners = {epoch: who for who, epoch in world.written}
    assert all(owners[epoch] == who for who, epoch in world.written), "one owner an epoch"
    epochs = [epoch for _, _, epoch in world.acted]
    assert epochs == sorted(epochs), "an older owner acted after a newer one"


def test_of_two_owners_only_one_acts_whatever_clocks_messages_and_pauses_do():
    takeovers = acts = 0
    for seed in range(SEEDS):
        world = simulate(seed)
        check(world)
        takeovers += world.epoch - 1
        acts += len(world.acted)
    assert takeovers > SEEDS  # the worlds are hard enough that owners change
    assert acts > 10 * SEEDS  # and soft enough that they get something done


@pytest.mark.parametrize("change", ["impatient", "late"])
def test_the_simulation_sees_a_broken_rule(change, monkeypatch):
    """Taking over too early, or counting from the answer of a renewal, is found."""
    if change == "impatient":
        monkeypatch.setattr(LeaseRules, "patience", property(lambda rules: rules.seconds * 0.5))
    else:
        monkeypatch.setattr(
            Lease, "holds", lambda self, now: self._sent_at is not None and now < self._sent_at + 25
        )
    with pytest.raises(AssertionError):
        for seed in range(SEEDS):
            check(simulate(seed))


def test_a_lease_begins_with_its_first_renewal_and_counts_from_when_that_was_sent():
    lease = Lease(RULES)
    assert not lease.has_run_out(1e9)
    assert not lease.holds(0.0)
    lease.renewed(100.0)
    assert lease.holds(109.9)
    assert not lease.holds(110.0)
    assert lease.has_run_out(110.0)


def test_an_answer_that_comes_late_does_not_shorten_a_lease():
    lease = Lease(RULES)
    lease.renewed(100.0)
    lease.renewed(95.0)
    assert lease.holds(109.0)


def test_a_new_token_begins_the_watch_anew():
    watch = LeaseWatch(RULES)
    assert not watch.has_lapsed("s", "1/0", 0.0)
    assert not watch.has_lapsed("s", "1/1", 9.0)
    assert not watch.has_lapsed("s", "1/1", 19.0)
    assert watch.has_lapsed("s", "1/1", 9.0 + RULES.patience)


def test_the_watch_is_bounded():
    watch = LeaseWatch(RULES)
    for number in range(MAX_WATCHED + 10):
        watch.has_lapsed(f"s{number}", "t", 0.0)
    assert not watch.has_lapsed("s0", "t", 1000.0)


def test_a_session_that_was_forgotten_is_watched_anew():
    watch = LeaseWatch(RULES)
    assert not watch.has_lapsed("s1", "1/0", 0.0)
    watch.forget("s1")
    watch.forget("s1")
    assert not watch.has_lapsed("s1", "1/0", RULES.patience)
    assert watch.has_lapsed("s1", "1/0", 2 * RULES.patience)
