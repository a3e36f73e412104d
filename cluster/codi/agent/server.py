"""Connections: reads requests, answers ``/health`` by itself and hands the rest to the routes.

The routes are imported after the first answer, since their imports take longer than everything
that ``/health`` needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import time
from typing import TYPE_CHECKING

import h11

from cluster.codi.agent.config import Config
from cluster.codi.agent.errors import AgentError, invalid
from cluster.codi.agent.exchange import (
    IDLE_SECONDS,
    Exchange,
    new_connection,
    next_event,
    skip_body,
)
from cluster.codi.agent.fdstore import Store
from cluster.codi.agent.files.disk import Disk
from cluster.codi.agent.link import Link
from cluster.codi.agent.programs.guard import Guard

if TYPE_CHECKING:
    from cluster.codi.agent.routes import Routes

MAX_CONNECTIONS = 512
_LOAD_AFTER_SECONDS = 0.05
_LINGER_SECONDS = 2.0
_ALIVE_SECONDS = 10.0


class Server:
    """Serves one listening socket until ``close``."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._disk = Disk(config.workspace, limited=config.has_disk)
        self._store = store
        self._guard = Guard(
            config.secret, config.epoch, digest=config.secret_digest, boot=config.boot
        )
        if "bound" in store.left:
            epoch, _, session_id = store.left["bound"].content.decode().partition(" ")
            self._guard.epoch, self._guard.session_id = int(epoch), session_id or None
        self._guard.on_change = lambda: store.put("bound", self._bound())
        self._started_at = time.monotonic()
        self._connections: set[asyncio.Task[None]] = set()
        self._routes: Routes | None = None
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Begin to accept connections."""
        loop = asyncio.get_running_loop()
        self._store.put("bound", self._bound())
        self._server = await loop.create_server(self._connect, sock=listener, backlog=512)
        loop.call_later(_LOAD_AFTER_SECONDS, self.routes)

    async def close(self, timeout_seconds: float) -> None:
        """Hang up the terminals and end everything that was started, within the time."""
        if self._server is not None:
            self._server.close()
        if self._routes is not None:
            await self._routes.close(timeout_seconds)
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=0.5)

    def routes(self) -> Routes:
        """Import everything else, once, and close the process to the programs it will start."""
        if self._routes is None:
            gc.disable()
            from cluster.codi.agent.routes import Routes  # noqa: PLC0415 - see the module's text

            gc.freeze()
            gc.enable()
            self._routes = Routes(self._config, self._guard, self._store)
        return self._routes

    def _bound(self) -> bytes:
        """Return what the next CODI must know of who may ask."""
        return f"{self._guard.epoch} {self._guard.session_id or ''}".encode()

    def _connect(self) -> Link:
        link = Link()
        if len(self._connections) >= MAX_CONNECTIONS:
            asyncio.get_running_loop().call_soon(link.abort)
            return link
        task = asyncio.get_running_loop().create_task(self._serve(link))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        return link

    async def _serve(self, link: Link) -> None:
        """Answer the requests of one connection, one after the other."""
        http = new_connection()
        try:
            while await self._serve_one(link, http):
                http.start_next_cycle()
        except (ConnectionError, TimeoutError):
            link.abort()
        except h11.RemoteProtocolError as error:
            _refuse(link, http, error)
        except Exception as error:  # noqa: BLE001 - an answer that was begun, and cannot be ended
            _log(error)
            link.abort()

    async def _serve_one(self, link: Link, http: h11.Connection) -> bool:
        """Answer one request; say whether another may follow."""
        request = await next_event(link, http, IDLE_SECONDS)
        if not isinstance(request, h11.Request):
            link.close()
            return False
        exchange = Exchange(link, http, request)
        try:
            upgraded = await self._answer(exchange)
        except AgentError as error:
            exchange.fail(error)
        except OSError as error:
            if isinstance(error, ConnectionError | TimeoutError):
                raise
            exchange.fail(self._disk.error(error))
        except UnicodeEncodeError:
            exchange.fail(invalid("a text holds surrogates that stand for no byte"))
        except h11.ProtocolError:
            raise
        except Exception as error:  # noqa: BLE001 - a caller waits: whatever it is, it ends in an answer
            _log(error)
            exchange.fail(AgentError(500, "internal", "CODI failed; its log says how"))
        else:
            if upgraded:
                return False
        await link.drain(IDLE_SECONDS)
        if not await skip_body(link, http) or http.our_state is not h11.DONE:
            await _linger(link)
            return False
        return http.their_state is h11.DONE

    async def _answer(self, exchange: Exchange) -> bool:
        if exchange.target == "/health" and exchange.method == "GET":
            self._guard.check_secret(exchange.headers)
            exchange.answer(200, self._health())
            asyncio.get_running_loop().call_soon(self.routes)
            return False
        if exchange.target == "/journal" and exchange.method == "GET":
            self._guard.check_secret(exchange.headers)
            self._guard.check_boot(exchange.headers)
            return self.routes().open_journal(exchange)
        if exchange.target == "/link" and exchange.method == "GET":
            self._guard.check_secret(exchange.headers)
            await exchange.while_connected(self._hold(exchange))
        self._guard.admit(exchange.headers)
        return await self.routes().dispatch(exchange)

    async def _hold(self, exchange: Exchange) -> None:
        """Say who this is, again and again until the caller goes: a platform counts it as work."""
        exchange.begin(200, [("content-type", "application/x-ndjson")], None)
        line = f'{{"boot":"{self._config.boot}"}}\n'.encode()
        while True:
            exchange.send(line)
            await exchange.link.drain(_ALIVE_SECONDS)
            await asyncio.sleep(_ALIVE_SECONDS)

    def _health(self) -> dict[str, object]:
        """Report health; needs neither a new process nor a new thread."""
        return {
            "status": "ok",
            "boot": self._config.boot,
            "epoch": self._guard.epoch,
            "session_id": self._guard.session_id,
            "uptime_seconds": round(time.monotonic() - self._started_at, 3),
            "terminals": self._routes.terminals.count if self._routes else 0,
            "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        }


def _log(error: Exception) -> None:
    """Write an error that nobody has thought of to the log of the container."""
    import traceback  # noqa: PLC0415 - a container starts without

    print("codi:", *traceback.format_exception(error), file=sys.stderr)  # noqa: T201


def _refuse(link: Link, http: h11.Connection, error: h11.RemoteProtocolError) -> None:
    """Answer what is not HTTP, if that can still be done, and close."""
    if http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
        text = f'{{"code":"bad_request","detail":"{error.__class__.__name__}"}}'.encode()
        headers = [("content-length", str(len(text))), ("connection", "close")]
        response = h11.Response(status_code=error.error_status_hint, headers=headers)
        with contextlib.suppress(h11.LocalProtocolError):
            link.write(http.send(response) or b"")
            link.write(http.send(h11.Data(data=text)) or b"")
    link.close()


async def _linger(link: Link) -> None:
    """Close so that the answer arrives though the other side still sends (RFC 9112, 9.6)."""
    if link.transport.can_write_eof():
        link.transport.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while await link.read(_LINGER_SECONDS):
                pass
    link.abort()
