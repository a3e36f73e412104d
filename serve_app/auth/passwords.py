"""Passwords: prepared, then argon2id in a few threads, with a bounded queue in front.

A password is prepared as RFC 8265's OpaqueString: composed as NFC, and any space as the space, so that
it fits however a keyboard puts it together; what cannot be typed (control characters and their like) is
refused when it is set. Case and width stay.

Parameters are the second recommendation of OWASP's password storage cheat sheet: 19 MiB, two passes,
one lane. One check takes tens of milliseconds of a core, so a crowd at the door has to queue; past
the queue's bound callers are asked to come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from precis_i18n import get_profile

from actors.core.errors.limits import TooManyRequests
from actors.core.errors.requests import InvalidArgument
from serve_app.http.fair_turns import FairTurns
from serve_app.schemas.auth import MAX_PASSWORD, MIN_PASSWORD

T = TypeVar("T")

SECONDS_PER_CHECK = 0.05
PASSES = 2
MEMORY_KIB = 19 * 1024
_OPAQUE = get_profile("OpaqueString")


class Passwords:
    """Hashes and checks passwords: ``parallel`` at once, at most ``queue`` waiting."""

    def __init__(self, *, parallel: int, queue: int) -> None:
        self._hasher = PasswordHasher(
            time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1, type=Type.ID
        )
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="argon2")
        self._parallel = parallel
        self._turns = FairTurns(parallel, queue, self._refusal)
        self._running = 0
        # Checked when there is no such user, so that the answer takes as long.
        self._nobody = self._hasher.hash("nobody")

    @property
    def under_way(self) -> int:
        """The number of hashes and checks that run or wait."""
        return self._running + self._turns.waiting

    async def hash(self, password: str, *, party: str = "") -> str:
        """Return a password's hash in PHC form; ``party`` as for ``verify``.

        Raises InvalidArgument, TooManyRequests.
        """
        prepared = _prepared(password) if len(password) <= MAX_PASSWORD else password
        if prepared is None:
            raise InvalidArgument("password", "it has characters that cannot be typed")
        if not MIN_PASSWORD <= len(prepared) <= MAX_PASSWORD:
            raise InvalidArgument("password", f"{MIN_PASSWORD} to {MAX_PASSWORD} characters")
        return await self._run(party, lambda: self._hasher.hash(prepared.encode()))

    async def verify(self, password_hash: str | None, password: str, *, party: str = "") -> bool:
        """Return whether the password fits; for None (no such user) that takes as long and is false.

        ``party``: whom it is for. Parties are served in turn, whatever one of them has waiting.
        It fits as it was sent, too: an earlier release hashed it so. Raises TooManyRequests.
        """
        stored = password_hash or self._nobody
        # Lone surrogates, which JSON allows, are bytes too.
        forms = {password.encode("utf-8", "surrogatepass")}
        if (prepared := _prepared(password)) is not None:
            forms.add(prepared.encode())
        fits = await self._run(party, lambda: [self._fits(stored, form) for form in forms])
        return any(fits) and password_hash is not None

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fits(self, stored: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, party: str, work: Callable[[], T]) -> T:
        await self._turns.take(party)
        self._running += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # Its turn lasts until the thread is done with it, also when the caller has gone away.
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, _future: object) -> None:
        self._running -= 1
        self._turns.give_back()

    def _refusal(self) -> TooManyRequests:
        wait = self.under_way * SECONDS_PER_CHECK / self._parallel
        return TooManyRequests("sign-ins at once", max(1.0, wait))


def _prepared(password: str) -> str | None:
    """Return a password as it is hashed; None for one that cannot be set."""
    if password.isascii() and password.isprintable():
        return password or None
    try:
        return str(_OPAQUE.enforce(password))
    except UnicodeEncodeError:
        return None
