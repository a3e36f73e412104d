"""One signed-in user's requests: sent, refreshed once, waited for when the server says "not now"."""

from __future__ import annotations

import asyncio
import random
import secrets
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import httpx

from coditect import addresses
from coditect.errors import ApiError, ConnectionFailed, Unauthorized, from_problem
from coditect.forward import AsyncPortForward
from coditect.program import AsyncProgram
from coditect.terminal import AsyncTerminal
from coditect.upload import Upload

DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_RETRY_SECONDS = 30.0
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})  # RFC 9110, 9.2.2
_LEAST_PAUSE_SECONDS = 0.1
_SPREAD = 0.25


def pause_before_retry(
    error: ApiError, *, repeatable: bool, left: float, spread: float
) -> float | None:
    """Return the seconds after which a refused request is sent again; None: it is not. Pure.

    429 and ``busy`` say that nothing was done, so any request may come again; any other 503 only one
    that is ``repeatable``. Never without the server's ``Retry-After`` (RFC 9110, 10.2.3), nor when that
    is more than ``left``. ``spread`` (0 to 1) keeps callers that were refused together from coming
    back together.
    """
    asked = error.retry_after
    if asked is None or not (_is_undone(error) or (error.status == 503 and repeatable)):
        return None
    pause = max(asked, _LEAST_PAUSE_SECONDS)
    if pause > left:
        return None
    return min(pause * (1 + _SPREAD * spread), left)


def _is_undone(error: ApiError) -> bool:
    return error.status == 429 or error.code == "busy"


class Connection:
    """Sends the calls of ``AsyncClient``.

    ``timeout_seconds`` bounds each step of a request (connect, each read, each write),
    ``retry_seconds`` how long one call goes on asking a server that answers 429, or 503 with
    ``Retry-After``; 0 raises at once.
    """

    def __init__(
        self,
        url: str,
        *,
        access_token: str | None = None,
        refresh_token: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retry_seconds: float = DEFAULT_RETRY_SECONDS,
    ) -> None:
        self.url = url.rstrip("/")
        self.access_token = access_token
        self.refresh_token = refresh_token
        self.timeout_seconds = timeout_seconds
        self.retry_seconds = retry_seconds
        self._renewing = asyncio.Lock()
        self._attached: weakref.WeakSet[AsyncTerminal | AsyncProgram | AsyncPortForward] = (
            weakref.WeakSet()
        )
        with self._reached():
            self._http = httpx.AsyncClient(
                base_url=self.url,
                timeout=httpx.Timeout(timeout_seconds, pool=timeout_seconds),
                limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
                # Reading the authorities takes 40 ms, and plain HTTP asks none of them.
                verify=not self.url.startswith("http://"),
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close terminals, programs and connections; sessions go on."""
        await asyncio.gather(*(attached.close() for attached in list(self._attached)))
        await self._http.aclose()

    async def refresh(self) -> None:
        """Trade the refresh token for a new pair."""
        if self.refresh_token is None:
            raise Unauthorized(401, "unauthenticated", "sign in first")
        answer = await self._request(
            "POST", "/api/v1/auth/refresh", json={"refresh_token": self.refresh_token}, signed=False
        )
        body = answer.json()
        self.access_token, self.refresh_token = body["access_token"], body["refresh_token"]

    async def _request(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        signed: bool = True,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | Upload | None = None,
        **arguments: Any,
    ) -> httpx.Response:
        """Return the answer. Raises ApiError for one of 400 or more."""
        sent = dict(headers or {}) | ({"idempotency-key": key} if key is not None else {})
        if timeout is not None:
            arguments["timeout"] = timeout
        if "json" in arguments:
            content = addresses.body(arguments.pop("json"))
            sent["content-type"] = "application/json"
        tries = _Tries(self, signed=signed, repeatable=method in _IDEMPOTENT or key is not None)
        while True:
            token = self.access_token
            body = content.pieces() if isinstance(content, Upload) else content
            with self._reached():
                answer = await self._http.request(
                    method,
                    path,
                    headers=sent | (self._headers() if signed else {}),
                    content=body,
                    **arguments,
                )
            if answer.status_code < 400:
                return answer
            refused = error_of(answer)
            if method == "DELETE" and refused.status == 404 and tries.perhaps_done:
                return answer  # by the try before, of which it was not known whether it was carried out
            if isinstance(content, Upload) and not content.rewind():
                raise refused
            await tries.wait_after(refused, token)

    async def _stream(
        self,
        url: str,
        parameters: Mapping[str, int | str] | None = None,
        opened: Callable[[httpx.Headers], None] = lambda _headers: None,
    ) -> AsyncIterator[bytes]:
        """Yield the bytes of an answer; its headers are given to ``opened`` before."""
        tries = _Tries(self, signed=True, repeatable=True)
        while True:
            token = self.access_token
            request = self._http.build_request(
                "GET", url, params=parameters, headers=self._headers()
            )
            with self._reached():
                answer = await self._http.send(request, stream=True)
            try:
                with self._reached():
                    if answer.status_code < 400:
                        opened(answer.headers)
                        async for piece in answer.aiter_bytes():
                            yield piece
                        return
                    await answer.aread()
            finally:
                await answer.aclose()
            await tries.wait_after(error_of(answer), token)

    async def renew(self, refused_token: str | None) -> None:
        """Refresh, unless another call has done so since that token was used."""
        async with self._renewing:
            if self.access_token == refused_token:
                await self.refresh()

    def _socket_url(self, path: str) -> str:
        return "ws" + self.url.removeprefix("http") + path

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.access_token}"} if self.access_token else {}

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Report in the client's words that the server cannot be reached, or that an answer broke off."""
        try:
            yield
        except httpx.TransportError as error:
            raise ConnectionFailed(self.url, str(error) or type(error).__name__) from error
        except httpx.InvalidURL as error:
            raise ConnectionFailed(self.url, f"no address: {error}") from error


class _Tries:
    """One call's patience: a refresh once, and pauses as the server asks for them."""

    def __init__(self, connection: Connection, *, signed: bool, repeatable: bool) -> None:
        self._connection = connection
        self._may_renew = signed
        self._repeatable = repeatable
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + connection.retry_seconds
        self.perhaps_done = False
        """True if a request that is sent again may have been carried out."""

    async def wait_after(self, refused: ApiError, token: str | None) -> None:
        """Return when the request may be sent again, having had ``token``. Raises ``refused`` if never."""
        connection = self._connection
        if refused.status == 401 and self._may_renew and connection.refresh_token:
            self._may_renew = False
            await connection.renew(token)
            return
        pause = pause_before_retry(
            refused,
            repeatable=self._repeatable,
            left=self._until - self._loop.time(),
            spread=random.random(),  # noqa: S311 - parts callers
        )
        if pause is None:
            raise refused
        self.perhaps_done |= not _is_undone(refused)
        await asyncio.sleep(pause)


def error_of(answer: httpx.Response) -> ApiError:
    """Return the typed error for an answer of 400 or more."""
    try:
        problem = answer.json()
    except ValueError:
        problem = {"detail": answer.text[:500]}
    if not isinstance(problem, dict):
        problem = {"detail": str(problem)[:500]}
    return from_problem(answer.status_code, problem, answer.headers.get("retry-after"))


def new_key() -> str:
    """Return an idempotency key that was never used."""
    return secrets.token_hex(16)


def given(**values: Any) -> dict[str, Any]:
    """Return what is not None."""
    return {name: value for name, value in values.items() if value is not None}
