"""The front door of a service: an HTTP/1.1 listener of its own, which is the service's ``uri``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import h11

from actors.core.ports.clock import Clock
from actors.core.tasks import Tasks
from cluster.dev.cloud_run.identity.access import Access
from cluster.dev.cloud_run.identity.tokens import TokenIssuer
from cluster.dev.cloud_run.programs.interface import StartFailed
from cluster.dev.cloud_run.serving.guard import Door, Refused, admit
from cluster.dev.cloud_run.serving.passage import Client, TooLarge, pass_through
from cluster.dev.cloud_run.serving.workload import NoPlace, Workload

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 600.0
_MOST_CONNECTIONS = 5000
_PAGES = {
    401: "Unauthorized: the access token could not be verified",
    403: "Forbidden: your client does not have permission to get the URL from this server",
    404: "Not Found",
    413: "Request Entity Too Large",
    429: "Rate exceeded.",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "upstream request timeout",
}


class Front:
    """Lets callers in to the instances of a workload, each request for a limited time.

    ``door`` and ``workload`` may be exchanged at any time; requests under way go on as they began.
    ``longest_seconds`` cuts requests, sockets too, sooner than the service's own timeout.
    """

    def __init__(
        self, issuer: TokenIssuer, access: Access, clock: Clock, longest_seconds: float
    ) -> None:
        self.door: Door | None = None
        self.workload: Workload | None = None
        self.uri = ""
        self.longest_seconds = longest_seconds
        self.cuts = 0
        self._issuer = issuer
        self._access = access
        self._clock = clock
        self._tasks = Tasks(limit=_MOST_CONNECTIONS)
        self._server: asyncio.Server | None = None

    async def start(self, host: str) -> None:
        """Begin to listen, on a free port that stays the service's. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, 0)
        bound = self._server.sockets[0].getsockname()
        self.uri = f"http://{bound[0]}:{bound[1]}"

    async def close(self) -> None:
        """Stop, with every connection."""
        if self._server is not None:
            self._server.close()
        await self._tasks.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._tasks.offer("request", self._serve(Client(reader, writer))) is None:
            writer.close()

    async def _serve(self, client: Client) -> None:
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    request = await client.request()
                if request is None:
                    return
                await self._handle(client, request)
                if client.peer.our_state is not h11.DONE or client.peer.their_state is not h11.DONE:
                    return
                client.peer.start_next_cycle()
        except (OSError, TimeoutError, h11.ProtocolError):
            pass
        finally:
            client.writer.close()

    async def _handle(self, client: Client, request: h11.Request) -> None:
        door, workload = self.door, self.workload
        if door is None:
            await _refuse(client, 404)
            return
        try:
            headers = admit(list(request.headers), door, self._issuer, self._access)
        except Refused as error:
            await _refuse(client, error.status, error.challenge)
            return
        if workload is None:  # an instance that is stopped
            await _refuse(client, 503)
            return
        timeout = min(workload.plan.timeout_seconds, self.longest_seconds)
        passing = asyncio.create_task(self._pass(client, request, headers, workload))
        alarm: asyncio.Future[Any] = asyncio.ensure_future(self._clock.sleep(timeout))
        try:
            await asyncio.wait({passing, alarm}, return_when=asyncio.FIRST_COMPLETED)
            if not passing.done():
                self.cuts += 1
        finally:
            for each in (passing, alarm):
                each.cancel()
            await asyncio.gather(passing, alarm, return_exceptions=True)
        if passing.cancelled():
            await _refuse(client, 504)  # if no answer has begun; else it breaks off
        else:
            passing.result()

    async def _pass(
        self, client: Client, request: h11.Request, headers: Any, workload: Workload
    ) -> None:
        try:
            async with workload.place() as instance:
                await pass_through(client, request, headers, instance.program.address)
        except NoPlace:
            await _refuse(client, 429)
        except TooLarge:
            await _refuse(client, 413)
        except (StartFailed, OSError, TimeoutError, h11.ProtocolError) as error:
            logger.info("a request to %s failed: %s", workload.plan.name, error)
            await _refuse(client, 503)


async def _refuse(client: Client, status: int, challenge: str = "") -> None:
    headers = [("www-authenticate", challenge)] if challenge else []
    with contextlib.suppress(OSError, h11.ProtocolError):
        await client.answer(status, _PAGES[status], headers)
