"""Follows the ends of logins, so that their access tokens are worth nothing from then on.

Asking the store with every request would cost more than most requests do. Instead each replica follows
the list of ends in the store, woken by each of them, and looks in its own memory. So a login ends at
once on the replica that was asked, and a moment later on the others; open sockets, streams, uploads and
downloads end then, too. While the store is away a replica goes on with what it knows. An end is forgotten
when no access token of its login can be valid any more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog

from actors.core.errors.access import Unauthenticated
from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.records.accounts import UserRecord
from cluster.store.layers.accounts.revocations import EndedLogin
from serve_app.auth.tokens import Login
from serve_app.dependencies import RefreshTokens

logger = structlog.get_logger(__name__)

FOLLOW_SECONDS = 10.0
"""The longest time for which a watch is trusted."""

RETRY_SECONDS = 0.5
SKEW_SECONDS = 60.0


class _Account(NamedTuple):
    """Logins of an account from before ``generation`` ended at ``at``, but not ``kept``."""

    at: float
    generation: int
    kept: str | None


class Revocations:
    """Follows the ends of logins. Belongs to one event loop; ``run`` is a task of its owner.

    ``keep``: how long an access token lives. Logins end no faster than passwords are checked, which
    bounds what is remembered.
    """

    def __init__(self, store: RefreshTokens, clock: Clock, *, keep: float) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep + SKEW_SECONDS
        self._families: OrderedDict[str, float] = OrderedDict()
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._place: bytes | None = None
        self._newest: bytes | None = None
        self._watches: dict[str, dict[Login, set[Callable[[], None]]]] = {}

    def __len__(self) -> int:
        return len(self._families) + len(self._accounts)

    def is_over(self, login: Login) -> bool:
        """Return whether a login has ended, as far as this replica knows."""
        if login.family in self._families:
            return True
        account = self._accounts.get(login.user_id)
        return (
            account is not None
            and login.generation < account.generation
            and login.family != account.kept
        )

    def add(self, user_id: str, family: str, at: float) -> None:
        """Take note of the end of one login, and notify whoever watches it."""
        self._families[family] = at
        self._families.move_to_end(family)
        self._notify(user_id)

    def add_account(self, user: UserRecord, at: float) -> None:
        """Take note that an account was changed."""
        self._add_account(user.user_id, _Account(at, user.generation, user.kept_login))

    @contextmanager
    def watching(self, login: Login, notice: Callable[[], None]) -> Iterator[None]:
        """Call ``notice`` when a login ends, at once if it has; at most once."""
        watches = self._watches.setdefault(login.user_id, {}).setdefault(login, set())
        watches.add(notice)
        if self.is_over(login):
            self._notify(login.user_id)
        try:
            yield
        finally:
            self._forget(login, notice)

    async def require_live(self, login: Login) -> None:
        """Wait until a login ends, then raise Unauthenticated."""
        event = asyncio.Event()
        with self.watching(login, event.set):
            await event.wait()
        raise Unauthenticated("signed out")

    async def catch_up(self) -> None:
        """Take over what the store knows and this replica does not. Raises Unavailable."""
        self._newest = await self._store.newest_end()
        while page := await self._store.ended_after(self._place):
            for ended in page:
                self._take(ended)
            self._place = page[-1].place
        past = self._clock.now() - self._keep
        while self._families and next(iter(self._families.values())) < past:
            self._families.popitem(last=False)
        while self._accounts and next(iter(self._accounts.values())).at < past:
            self._accounts.popitem(last=False)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self.catch_up()
                await self._store.wait_for_end(self._newest, FOLLOW_SECONDS)
            except CoditectError as error:
                logger.warning("ends of logins are not followed", reason=str(error))
                await self._clock.sleep(RETRY_SECONDS)

    def _take(self, ended: EndedLogin) -> None:
        if ended.family_id is not None:
            self.add(ended.user_id, ended.family_id, ended.at)
        else:
            self._add_account(ended.user_id, _Account(ended.at, ended.generation, ended.kept))

    def _add_account(self, user_id: str, account: _Account) -> None:
        known = self._accounts.get(user_id)
        if known is not None and known.generation > account.generation:
            return
        self._accounts[user_id] = account
        self._accounts.move_to_end(user_id)
        self._notify(user_id)

    def _notify(self, user_id: str) -> None:
        watched = self._watches.get(user_id, {})
        for login in [login for login in watched if self.is_over(login)]:
            for notice in tuple(watched.pop(login)):
                notice()
        if not watched:
            self._watches.pop(user_id, None)

    def _forget(self, login: Login, notice: Callable[[], None]) -> None:
        watched = self._watches.get(login.user_id, {})
        watches = watched.get(login)
        if watches is None:
            return
        watches.discard(notice)
        if not watches:
            del watched[login]
        if not watched:
            del self._watches[login.user_id]
