"""The server's client of CODI: what an ingress replica asks of a container, bytes included."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import quote, urlencode

import httpx
from websockets.exceptions import InvalidHandshake, InvalidStatus

from actors.core.errors.base import DeadlineExceeded, Unavailable, Unreached
from actors.core.records.ports import Listening
from actors.core.records.sessions import Route
from cluster.codi.answers import COMPONENT, Asked, error_from, headers
from cluster.codi.control import CodiControl
from cluster.codi.programs.background_client import BackgroundCalls
from cluster.codi.sockets import CLOSE_SECONDS, CodiConnect, ContainerConnection, secured
from cluster.container_address import parse
from cluster.http_exchange import tls
from cluster.identity_tokens import access

if TYPE_CHECKING:
    import ssl

_CONNECT_SECONDS = 3.0
_CALL_SECONDS = 20.0
_STALL_SECONDS = 60.0
_EXEC_MARGIN_SECONDS = 10.0
_MAX_CONNECTIONS = 1000
_REMOVAL_SECONDS = 300.0
_UNPACK_SECONDS = 300.0
_MAX_LINE = 1 << 20
_MAX_MESSAGE = 2 << 20


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """A file, or a part of it: ``status`` 200, 206 or 304, headers to pass on, and the bytes."""

    status: int
    headers: dict[str, str]
    content: AsyncIterator[bytes]


class HttpCodiClient(BackgroundCalls, CodiControl):
    """Every call of CODI, over a pool of connections. Close it, or use it as a context manager.

    Every call takes the session's route. Errors are those of ``actors.core.errors``: Unavailable when
    the container is gone, DeadlineExceeded when it does not answer in time, Fenced, NotFound,
    InvalidArgument, PreconditionFailed, PayloadTooLarge, WorkspaceFull and their like.
    """

    def __init__(self, http: httpx.AsyncClient | None = None) -> None:
        super().__init__(_CALL_SECONDS)
        self._owned = http is None
        # Containers here are reached by plain HTTP; authorities take 40 ms to read.
        self._http = http or _pool(verify=False)
        self._secure: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that are its own."""
        if self._owned:
            await self._http.aclose()
        if self._secure is not None:
            await self._secure.aclose()

    async def exec(
        self,
        route: Route,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout_seconds: float = 30.0,
    ) -> dict[str, Any]:
        """Run a program to its end; see ``POST /exec``."""
        body = {
            "argv": list(argv),
            "cwd": cwd,
            "env": dict(env) if env else None,
            "stdin": stdin,
            "timeout_seconds": timeout_seconds,
        }
        asked = Asked(route, "program", ascii(argv[0])[1:-1] if argv else "")
        limit = timeout_seconds + _EXEC_MARGIN_SECONDS
        answer: dict[str, Any] = await self._json(asked, "POST", "/exec", body, limit)
        return answer

    async def tree(
        self, route: Route, path: str, *, after: str = "", limit: int | None = None
    ) -> dict[str, Any]:
        """List a page of a directory; see ``GET /tree``."""
        asked = Asked(route, "directory", path)
        query = {} if limit is None else {"limit": str(limit)}
        target = f"{_path('tree', path)}?{urlencode(query | {'after': _bytes(after)})}"
        answer: dict[str, Any] = await self._json(asked, "GET", target)
        return answer

    async def disk(self, route: Route) -> dict[str, Any]:
        """Return what the workspace holds and may hold; see ``GET /disk``."""
        answer: dict[str, Any] = await self._json(Asked(route), "GET", "/disk")
        return answer

    async def ports(self, route: Route, watch_seconds: int = 0) -> tuple[Listening, ...]:
        """Return what listens; for so long from now on its journal hears of changes."""
        target = f"/ports?watch={watch_seconds}"
        answer = await self._json(Asked(route), "GET", target)
        try:
            return Listening.all_of(answer["ports"])
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(COMPONENT, "its answer is no list of ports") from error

    async def stop_port(self, route: Route, port: int) -> bool:
        """End the program that listens on a port; say whether it listens no more."""
        answer = await self._json(Asked(route, "port", str(port)), "DELETE", f"/ports/{port}")
        return bool(answer["stopped"])

    async def incarnation(self, route: Route) -> str:
        """Return which directory the workspace is in; see ``GET /incarnation``."""
        answer: dict[str, Any] = await self._json(Asked(route), "GET", "/incarnation")
        return str(answer["incarnation"])

    async def processes(self, route: Route) -> list[dict[str, Any]]:
        """List the processes."""
        answer: list[dict[str, Any]] = await self._json(Asked(route), "GET", "/processes")
        return answer

    async def terminals(self, route: Route) -> list[dict[str, Any]]:
        """List the terminals."""
        answer: list[dict[str, Any]] = await self._json(Asked(route), "GET", "/terminals")
        return answer

    async def delete_terminal(self, route: Route, name: str) -> None:
        """Hang up a terminal."""
        target = f"/terminals/{quote(name, safe='')}"
        await self._json(Asked(route, "terminal", name), "DELETE", target)

    async def delete(
        self,
        route: Route,
        path: str,
        *,
        recursive: bool = False,
        if_match: str | None = None,
        if_none_match: str | None = None,
        if_unmodified_since: str | None = None,
    ) -> None:
        """Remove a file, or a directory."""
        target = _path("files", path) + ("?recursive=1" if recursive else "")
        asked = Asked(route, "file", path, if_match)
        sent = _fields(if_match, if_none_match, if_unmodified_since)
        limit = _REMOVAL_SECONDS if recursive else _CALL_SECONDS
        await self._send(asked, "DELETE", target, headers=sent, read=limit)

    async def move(
        self, route: Route, source: str, target: str, *, overwrite: bool = False
    ) -> None:
        """Rename a file or directory."""
        body = {"source": source, "target": target, "overwrite": overwrite}
        await self._json(Asked(route, "file", source), "POST", "/move", body)

    async def make_directory(self, route: Route, path: str) -> bool:
        """Make a directory; say whether it was not there before."""
        asked = Asked(route, "directory", path)
        response = await self._send(asked, "POST", "/directories", json={"path": path})
        return response.status_code == httpx.codes.CREATED

    @contextlib.asynccontextmanager
    async def get_file(
        self, route: Route, path: str, sent: Mapping[str, str] | None = None, method: str = "GET"
    ) -> AsyncIterator[FileAnswer]:
        """Open a file for streaming, or with ``HEAD`` ask how it is. ``sent``: conditions and a range."""
        async with self._streamed(
            Asked(route, "file", path), "files", path, sent, method
        ) as answer:
            yield answer

    @contextlib.asynccontextmanager
    async def get_archive(self, route: Route, path: str) -> AsyncIterator[FileAnswer]:
        """Open a directory for streaming, as a tar archive."""
        async with self._streamed(Asked(route, "directory", path), "archive", path) as answer:
            yield answer

    async def search(self, route: Route, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Look for names or contents; see ``POST /search``: ``{matches, stopped_by, next}``."""
        asked = Asked(route, "directory", str(wanted.get("path", "")))
        answer: dict[str, Any] = await self._json(asked, "POST", "/search", dict(wanted))
        return answer

    @contextlib.asynccontextmanager
    async def watch(self, route: Route, path: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Follow changes below a path; see ``GET /watch``. The answers end with Unavailable."""
        async with self._streamed(Asked(route, "directory", path), "watch", path) as answer:
            yield _lines(answer.content)

    async def put_archive(
        self, route: Route, path: str, content: AsyncIterator[bytes], *, length: int | None = None
    ) -> dict[str, Any]:
        """Unpack a tar stream below a directory; return ``{made, last, bytes, failed, …}``."""
        given = {"content-length": str(length)} if length is not None else {}
        response = await self._send(
            Asked(route, "archive", path),
            "PUT",
            _path("archive", path),
            headers=given,
            content=content,
            read=_UNPACK_SECONDS,
        )
        answer: dict[str, Any] = response.json()
        return answer

    @contextlib.asynccontextmanager
    async def _streamed(
        self,
        asked: Asked,
        call: str,
        path: str,
        sent: Mapping[str, str] | None = None,
        method: str = "GET",
    ) -> AsyncIterator[FileAnswer]:
        given = {name: value.encode("latin-1") for name, value in (sent or {}).items()}
        request = await self._request(asked.route, method, _path(call, path), headers=given)
        with translated(asked):
            response = await self._client(asked.route).send(request, stream=True)
        try:
            if response.status_code not in {200, 206, 304}:
                with translated(asked):
                    problem = response.headers.get("x-codi-error", "").encode()
                    raise error_from(response.status_code, problem or await response.aread(), asked)
            yield FileAnswer(
                response.status_code, dict(response.headers), _content(response, asked)
            )
        finally:
            await response.aclose()

    async def put_file(
        self,
        route: Route,
        path: str,
        content: AsyncIterator[bytes] | bytes,
        *,
        if_match: str | None = None,
        if_none_match: str | None = None,
        if_unmodified_since: str | None = None,
        length: int | None = None,
        mode: int | None = None,
    ) -> dict[str, Any]:
        """Save a file durably; return ``{path, stored, size, etag}``. ``length``: its size, if known.

        ``stored`` is where it lies when the path leads through links.
        """
        given: dict[str, str | bytes] = {**_fields(if_match, if_none_match, if_unmodified_since)}
        if mode is not None:
            given["x-codi-mode"] = f"{mode:o}"
        if length is not None and not isinstance(content, bytes):
            given["content-length"] = str(length)
        asked = Asked(route, "file", path, if_match)
        target = _path("files", path)
        response = await self._send(
            asked, "PUT", target, headers=given, content=content, read=_STALL_SECONDS
        )
        answer: dict[str, Any] = response.json()
        return answer

    async def connect_terminal(
        self, route: Route, name: str, query: Mapping[str, str], *, timeout_seconds: float = 10.0
    ) -> ContainerConnection:
        """Open a terminal's socket; its first message is the ``attached`` frame.

        ``query``: ``client``, ``offset``, ``input_offset``, ``cols``, ``rows``, ``create``. The
        caller closes it. CODI itself notices a client that is gone, so there are no pings here.
        """
        asked = Asked(route, "terminal", name)
        to = parse(route.address)
        target = f"{to.websocket}/terminals/{quote(name, safe='')}/ws?{urlencode(query)}"
        fields = headers(route) | dict(await access(to))
        try:
            connection = await CodiConnect(
                target,
                create_connection=ContainerConnection,
                additional_headers=fields,
                **secured(to),
                compression=None,
                proxy=None,
                open_timeout=timeout_seconds,
                ping_interval=None,
                close_timeout=CLOSE_SECONDS,
                max_size=_MAX_MESSAGE,
                max_queue=4,
                process_exception=lambda error: error,
            )
            return cast("ContainerConnection", connection)
        except InvalidStatus as refused:
            response = refused.response
            raise error_from(response.status_code, bytes(response.body or b""), asked) from None
        except TimeoutError:
            raise DeadlineExceeded("the terminal's connection", timeout_seconds) from None
        except (OSError, EOFError, InvalidHandshake) as error:
            raise Unavailable(COMPONENT, str(error) or type(error).__name__) from error

    async def _json(
        self,
        asked: Asked,
        method: str,
        target: str,
        body: Any = None,
        limit: float = _CALL_SECONDS,
    ) -> Any:
        response = await self._send(asked, method, target, json=body, read=limit)
        return response.json()

    async def _send(
        self,
        asked: Asked,
        method: str,
        target: str,
        *,
        read: float = _CALL_SECONDS,
        **content: Any,
    ) -> httpx.Response:
        with translated(asked):
            request = await self._request(asked.route, method, target, read=read, **content)
            response = await self._client(asked.route).send(request)
        if not response.is_success:
            raise error_from(response.status_code, response.content, asked)
        return response

    def _client(self, route: Route) -> httpx.AsyncClient:
        """Return the connections that a container is reached by: over TLS only those that check it."""
        if not parse(route.address).secure:
            return self._http
        if self._secure is None:
            self._secure = _pool(tls())
        return self._secure

    async def _request(
        self,
        route: Route,
        method: str,
        target: str,
        *,
        read: float = _STALL_SECONDS,
        **content: Any,
    ) -> httpx.Request:
        to = parse(route.address)
        sent = headers(route) | dict(await access(to)) | content.pop("headers", {})
        body = content.pop("json", None)
        if body is not None:
            # Escaped, unlike httpx's own: a path may hold what is no UTF-8.
            content["content"] = json.dumps(body, separators=(",", ":")).encode()
            sent["content-type"] = "application/json"
        timeout = httpx.Timeout(
            _STALL_SECONDS, connect=_CONNECT_SECONDS, read=read, pool=_CONNECT_SECONDS
        )
        url = httpx.URL(to.http).copy_with(raw_path=target.encode("ascii"))
        return self._client(route).build_request(
            method, url, headers=sent, timeout=timeout, **content
        )


def _pool(verify: ssl.SSLContext | bool) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=200)
    return httpx.AsyncClient(limits=limits, trust_env=False, verify=verify)


def _fields(
    if_match: str | None, if_none_match: str | None, if_unmodified_since: str | None
) -> dict[str, bytes]:
    """Return conditions as header fields, which may hold bytes that are no ASCII."""
    given = {
        "if-match": if_match,
        "if-none-match": if_none_match,
        "if-unmodified-since": if_unmodified_since,
    }
    return {name: value.encode("latin-1") for name, value in given.items() if value is not None}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _path(call: str, path: str) -> str:
    """Return the target of a call about a path, whatever the path holds.

    URL libraries resolve ``..`` before they send: CODI must see it, to refuse it, and must never
    be asked for another call instead.
    """
    escaped = quote(_bytes(path), safe="/")
    parts = [
        part.replace(".", "%2E") if part in {".", ".."} else part for part in escaped.split("/")
    ]
    return f"/{call}/{'/'.join(parts)}"


async def _lines(content: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON objects of a stream, one a line."""
    rest = b""
    async for part in content:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield json.loads(line)
        if len(rest) > _MAX_LINE:
            raise Unavailable(COMPONENT, "a line that does not end")


async def _content(response: httpx.Response, asked: Asked) -> AsyncIterator[bytes]:
    with translated(asked):
        async for part in response.aiter_raw():
            yield part


@contextlib.contextmanager
def translated(asked: Asked) -> Iterator[None]:
    """Raise httpx's errors as the server's own; ``Unreached`` where nothing can have been done."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise Unreached(COMPONENT, str(error) or type(error).__name__) from error
    except httpx.TimeoutException as error:
        raise DeadlineExceeded(f"{asked.kind} {asked.name!r}", _CALL_SECONDS) from error
    except httpx.HTTPError as error:
        raise Unavailable(COMPONENT, str(error) or type(error).__name__) from error
