"""Bounds the passwords that may be tried: counted in the store, before a password is checked.

Attempts at one account from one address, or one device, go a few at a time and the others wait; so of
any number at once exactly as many are checked as are allowed, and a crowd that knows the password
still gets in. Whoever has to wait is remembered here, so that a flood costs the store nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import structlog
from cachetools import LRUCache

from actors.core.errors.base import CoditectError
from actors.core.errors.limits import TooManyRequests
from actors.core.ports.clock import Clock
from cluster.store.layers.accounts.attempts import Asked, Attempt, Counter, Outcome, Wait
from serve_app.dependencies import Attempts

logger = structlog.get_logger(__name__)

AT_ONCE = 4
MAX_WAITING = 128
MAX_COUNTING = 1000
MAX_BLOCKED = 20_000
_IPV6_NETWORK = 64


Key = TypeVar("Key")


@dataclass(slots=True)
class _Gate:
    turns: asyncio.Semaphore
    users: int = 0


class _Gates(Generic[Key]):
    """Gates by what they are for, while somebody is at them: ``at_once`` go through each."""

    def __init__(self, at_once: int, most: int) -> None:
        self._at_once = at_once
        self._most = most
        self._gates: dict[Key, _Gate] = {}

    def __len__(self) -> int:
        return len(self._gates)

    @asynccontextmanager
    async def through(self, key: Key) -> AsyncIterator[None]:
        """Wait for one's turn and hold it. Raises TooManyRequests when too many are there."""
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = _Gate(asyncio.Semaphore(self._at_once))
        if gate.users >= self._most:
            raise TooManyRequests("sign-ins at once", 1.0)
        gate.users += 1
        try:
            async with gate.turns:
                yield
        finally:
            gate.users -= 1
            if not gate.users:
                del self._gates[key]


class Trial:
    """One attempt under way. ``outcome`` is set by whoever makes it, unless it fails."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None


class LoginThrottle:
    """Lets attempts through. Belongs to one event loop."""

    def __init__(self, store: Attempts, clock: Clock, *, limit: int = MAX_BLOCKED) -> None:
        self._store = store
        self._clock = clock
        self._gates: _Gates[Asked] = _Gates(AT_ONCE, AT_ONCE + MAX_WAITING)
        self._counting: _Gates[str] = _Gates(1, MAX_COUNTING)
        self._blocked: LRUCache[Asked, float] = LRUCache(limit)

    @asynccontextmanager
    async def trial(self, asked: Asked) -> AsyncIterator[Trial]:
        """Count an attempt and let it be made. Raises TooManyRequests when it has to wait."""
        async with self._gates.through(asked):
            attempt = await self._begin(asked)
            trial = Trial()
            try:
                yield trial
            finally:
                await self._settle(attempt, trial.outcome)

    def __len__(self) -> int:
        return len(self._blocked) + len(self._gates) + len(self._counting)

    async def _settle(self, attempt: Attempt, outcome: Outcome | None) -> None:
        if outcome is None:
            return
        if outcome is Outcome.PASSED:  # its address is known from now on, with a device or without
            self._blocked.pop(replace(attempt.asked, device=""), None)
        try:
            await self._store.settle(attempt, outcome, now=self._clock.now())
        except CoditectError as error:  # it counts as one that failed, for a while
            logger.info("an attempt to sign in was not taken back", reason=str(error))

    async def _begin(self, asked: Asked) -> Attempt:
        if not self._left(asked):
            begun = await self._count(asked)
            if isinstance(begun, Attempt):
                return begun
            self._block(asked, begun.seconds)
            if begun.counter is Counter.STRANGERS:
                self._block(Asked(asked.account), begun.seconds)
        raise TooManyRequests("failed sign-ins", self._left(asked))

    async def _count(self, asked: Asked) -> Attempt | Wait:
        if asked.device or self._left(Asked(asked.account)):
            # Nobody is counted with strangers now, so nobody gets into another one's way.
            return await self._store.begin(asked, now=self._clock.now())
        # One after the other: transactions that count the same would only make each other start anew.
        async with self._counting.through(asked.account):
            return await self._store.begin(asked, now=self._clock.now())

    def _left(self, asked: Asked) -> float:
        """Return for how long somebody has to wait, as far as it is known here."""
        left = self._blocked.get(asked, 0.0) - self._clock.monotonic()
        if left <= 0:
            self._blocked.pop(asked, None)
        return max(0.0, left)

    def _block(self, asked: Asked, seconds: float) -> None:
        self._blocked[asked] = self._clock.monotonic() + seconds


def account_digest(email_key: str) -> str:
    """Return the name under which attempts at an account are counted; there need be no such account."""
    return hashlib.sha256(email_key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def whole_address(address: str) -> str:
    """Return what stands for an address: itself, or the /64 network that one subscriber of IPv6 has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
