"""Attempts to sign in, counted before a password is checked, and over all replicas.

Who may be kept waiting by whom decides which counters an attempt is held against:

* a *device* that has signed in to the account before, which its cookie proves (OWASP, "Slow Down Online
  Guessing Attacks with Device Cookies"), has a counter of its own; so has
* an *address* from which somebody has signed in to the account lately;
* everybody else is a *stranger*, counted by account and address, and all strangers of an account
  together. So strangers, however many, keep each other out, and never the owner.

A counter begins anew after a quiet window. Accounts are named by a digest of what was typed, so that
there need be none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum, StrEnum

from cluster.store.engines.interface import Engine, KeyRange
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction, transact

WINDOW_SECONDS = 60.0
KNOWN_SECONDS = 90 * 86400.0
KNOWN_AGAIN_SECONDS = 86400.0
MAX_KNOWN = 16
_REMOVED_PER_CALL = 4


class Counter(StrEnum):
    """Counters of attempts."""

    DEVICE = "device"
    ADDRESS = "address"
    STRANGERS = "strangers"


ALLOWED = {Counter.DEVICE: 10, Counter.ADDRESS: 10, Counter.STRANGERS: 50}
"""Attempts in a row before the next one has to wait."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A party that tries an account: ``address`` is empty when unknown, ``device`` when none is proved."""

    account: str
    address: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that has been counted, by these counters."""

    asked: Asked
    counters: tuple[Counter, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """An attempt that was not counted: the next one may come after ``seconds``, says ``counter``."""

    seconds: float
    counter: Counter


class Outcome(Enum):
    """Outcomes of an attempt; of one that failed nothing has to be said."""

    PASSED = "passed"
    UNCHECKED = "unchecked"


def counters(asked: Asked, *, known: bool) -> tuple[Counter, ...]:
    """Return what an attempt is counted by; ``known``: its address is one of the account's own."""
    if asked.device:
        return (Counter.DEVICE,)
    if not asked.address:
        return (Counter.STRANGERS,)
    return (Counter.ADDRESS,) if known else (Counter.ADDRESS, Counter.STRANGERS)


class AttemptStore:
    """The counters of one tenant; each method is one transaction."""

    def __init__(self, engine: Engine, tenant_id: str) -> None:
        self._engine = engine
        self._keys = Keyspace(tenant_id)

    async def begin(self, asked: Asked, *, now: float) -> Attempt | Wait:
        """Count an attempt, unless it has to wait."""
        return await transact(self._engine, self._begin, asked, now)

    async def settle(self, attempt: Attempt, outcome: Outcome, *, now: float) -> None:
        """Take an attempt back that passed, or that was not checked."""
        await transact(self._engine, self._settle, attempt, outcome, now)

    async def _begin(self, tr: Transaction, asked: Asked, now: float) -> Attempt | Wait:
        place = self._keys.known_addresses.key(asked.account, asked.address)
        names = [_name(counter, asked) for counter in Counter]
        known_at, *_ = await tr.get_many(
            [place, *(self._keys.attempts.key(*name) for name in names)], snapshot=True
        )
        known = known_at is not None and now - float(known_at) < KNOWN_SECONDS
        held = counters(asked, known=known)
        counts: dict[Counter, tuple[int, float]] = {}
        for counter in held:
            count, last = await self._get(tr, counter, asked)
            if count >= ALLOWED[counter] and now - last < WINDOW_SECONDS:
                return Wait(WINDOW_SECONDS - max(0.0, now - last), counter)
            counts[counter] = (count if now - last < WINDOW_SECONDS else 0, last)
        for counter, (count, last) in counts.items():
            self._put(tr, counter, asked, (count + 1, now), last)
        await self._remove_old(tr, now)
        return Attempt(asked, held)

    async def _settle(
        self, tr: Transaction, attempt: Attempt, outcome: Outcome, now: float
    ) -> None:
        asked, passed = attempt.asked, outcome is Outcome.PASSED
        for counter in attempt.counters:
            count, last = await self._get(tr, counter, asked)
            # Whoever has got in starts afresh; among strangers only their own attempt is forgotten.
            left = 0 if passed and counter is not Counter.STRANGERS else count - 1
            self._put(tr, counter, asked, (left, last), last)
        if passed and asked.address:
            await self._know(tr, asked, now)

    async def _know(self, tr: Transaction, asked: Asked, now: float) -> None:
        keys = self._keys.known_addresses
        place = keys.key(asked.account, asked.address)
        at = await tr.get(place)
        if at is not None and now - float(at) < KNOWN_AGAIN_SECONDS:
            return
        tr.set(place, repr(now).encode())
        known = await tr.get_range(keys.range(asked.account))
        known.sort(key=lambda each: float(each[1]))
        for key, _ in known[: max(0, len(known) - MAX_KNOWN)]:
            tr.clear(key)

    async def _get(self, tr: Transaction, counter: Counter, asked: Asked) -> tuple[int, float]:
        data = await tr.get(self._keys.attempts.key(*_name(counter, asked)))
        if data is None:
            return 0, 0.0
        count, last = json.loads(data)
        return int(count), float(last)

    def _put(
        self,
        tr: Transaction,
        counter: Counter,
        asked: Asked,
        count: tuple[int, float],
        last: float,
    ) -> None:
        name = _name(counter, asked)
        tr.clear(self._age(name, last))
        if count[0] > 0:
            tr.set(self._keys.attempts.key(*name), json.dumps(count).encode())
            tr.set(self._age(name, count[1]), b"")
        else:
            tr.clear(self._keys.attempts.key(*name))

    def _age(self, name: tuple[str, ...], at: float) -> bytes:
        return self._keys.attempt_ages.key(int(at * 1000), *name)

    async def _remove_old(self, tr: Transaction, now: float) -> None:
        """Forget counters whose window is over; more than come, so that they cannot pile up."""
        ages = self._keys.attempt_ages
        past = KeyRange(ages.range().begin, ages.key(int((now - WINDOW_SECONDS) * 1000)))
        for key, _ in await tr.get_range(past, limit=_REMOVED_PER_CALL, snapshot=True):
            counter = self._keys.attempts.key(*ages.unpack(key)[1:])
            data = await tr.get(counter)  # conflicts with whoever counts on
            tr.clear(key)
            if data is not None and now - json.loads(data)[1] >= WINDOW_SECONDS:
                tr.clear(counter)


def _name(counter: Counter, asked: Asked) -> tuple[str, ...]:
    whose = {Counter.DEVICE: asked.device, Counter.ADDRESS: asked.address, Counter.STRANGERS: ""}
    return (asked.account, counter.value, whose[counter])
