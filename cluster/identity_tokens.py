"""Identity tokens for containers behind Google's front: fetched when first needed, kept, renewed in time.

google-auth finds who this server is: on Google's machines from their metadata server. It is imported with
the first address that needs a token, and never where all containers are of this machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from actors.core.errors.base import DeadlineExceeded, Unavailable
from cluster.container_address import Address

RENEW_SECONDS = 300.0
RETRY_SECONDS = 5.0
FETCH_SECONDS = 10.0
MAX_TOKENS = 16384
FETCHES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and when it is of no more use, in seconds since the epoch."""

    text: str
    expires_at: float


Fetch = Callable[[str], Awaitable[Token]]


class IdentityTokens:
    """Tokens by audience. Callers of one audience share a fetch; a token is renewed before it ends.

    While a renewal fails, the former token serves until it expires. Belongs to one event loop.
    """

    def __init__(self, fetch: Fetch, now: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._now = now
        self._tokens: dict[str, Token] = {}
        self._fetching: dict[str, asyncio.Task[Token]] = {}
        self._gate = asyncio.Semaphore(FETCHES_AT_ONCE)
        self._retry_at = 0.0

    async def token(self, audience: str) -> str:
        """Return a token for an audience. Raises Unavailable, DeadlineExceeded."""
        token, now = self._tokens.get(audience), self._now()
        if token is not None and now < token.expires_at - RENEW_SECONDS:
            return token.text
        if token is not None and now < token.expires_at:
            if now >= self._retry_at:
                self._begin(audience)
            return token.text
        fetched = await asyncio.shield(self._begin(audience))
        return fetched.text

    async def close(self) -> None:
        """End what is being fetched."""
        fetching = list(self._fetching.values())
        for task in fetching:
            task.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)

    def _begin(self, audience: str) -> asyncio.Task[Token]:
        task = self._fetching.get(audience)
        if task is None:
            task = asyncio.create_task(self._renew(audience), name=f"identity token {audience}")
            self._fetching[audience] = task
            task.add_done_callback(lambda done: self._settle(audience, done))
        return task

    def _settle(self, audience: str, done: asyncio.Task[Token]) -> None:
        self._fetching.pop(audience, None)
        if not done.cancelled() and done.exception() is not None:
            self._retry_at = self._now() + RETRY_SECONDS

    async def _renew(self, audience: str) -> Token:
        try:
            async with self._gate, asyncio.timeout(FETCH_SECONDS):
                token = await self._fetch(audience)
        except TimeoutError:
            raise DeadlineExceeded("an identity token", FETCH_SECONDS) from None
        if len(self._tokens) >= MAX_TOKENS:
            now = self._now()
            self._tokens = {a: t for a, t in self._tokens.items() if now < t.expires_at}
            while len(self._tokens) >= MAX_TOKENS:
                self._tokens.pop(next(iter(self._tokens)))
        self._tokens[audience] = token
        return token


async def fetch_by_google(audience: str) -> Token:
    """Fetch a token as whoever this server is to Google. Raises Unavailable."""
    return await asyncio.to_thread(_fetch, audience)


def _fetch(audience: str) -> Token:
    from datetime import UTC  # noqa: PLC0415 - with the libraries below, only for such addresses

    from google.auth import exceptions  # noqa: PLC0415
    from google.auth.transport.requests import Request  # noqa: PLC0415
    from google.oauth2 import id_token  # noqa: PLC0415

    try:
        credentials = id_token.fetch_id_token_credentials(audience, Request())
        credentials.refresh(Request())
    except exceptions.GoogleAuthError as error:
        raise Unavailable("Google's identity tokens", str(error)) from error
    return Token(credentials.token, credentials.expiry.replace(tzinfo=UTC).timestamp())


_of_loop: tuple[asyncio.AbstractEventLoop, IdentityTokens] | None = None


async def access(address: Address) -> Mapping[str, str]:
    """Return the header fields that open the way to a container, beside CODI's own.

    Raises Unavailable, DeadlineExceeded.
    """
    if address.audience is None:
        return {}
    global _of_loop  # noqa: PLW0603 - one cache for all clients of a process
    loop = asyncio.get_running_loop()
    if _of_loop is None or _of_loop[0] is not loop:
        _of_loop = loop, IdentityTokens(fetch_by_google)
    token = await _of_loop[1].token(address.audience)
    fields = {"x-serverless-authorization": f"Bearer {token}"}
    return fields if address.boot is None else fields | {"x-codi-boot": address.boot}
