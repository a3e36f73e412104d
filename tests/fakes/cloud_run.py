"""Cloud Run as the runtime sees it: resources in a dict, each with a front that answers as CODI would."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster.cloud_run_options import Place
from cluster.runtime.cloud_run.errors import CallFailed
from cluster.runtime.cloud_run.operations import Phase, Seen, outcome


def refusal(status: str) -> CallFailed:
    return CallFailed(outcome(status), status, "the test says so")


@dataclass
class Container:
    """A resource. Its front answers ``/health`` and ``/link`` as long as it is there."""

    seen: Seen
    document: dict
    boot: str = "boot-1"
    session_id: str | None = None
    links: int = 0
    server: asyncio.Server | None = None
    connections: set = field(default_factory=set)

    async def open(self) -> str:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self.server is not None
        self.server.close()
        self.cut()

    def cut(self) -> None:
        """End every request, as the time limit does."""
        for writer in list(self.connections):
            writer.transport.abort()

    def restart(self) -> None:
        self.boot += "-again"
        self.cut()

    async def _serve(self, reader, writer) -> None:
        self.connections.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert "x-serverless-authorization: Bearer token" in head
            say = {"boot": self.boot, "session_id": self.session_id}
            body = json.dumps(say).encode() + b"\n"
            if head.startswith("GET /link"):
                self.links += 1
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                writer.write(b"%x\r\n%s\r\n" % (len(body), body))
                await reader.read()
            else:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        self.connections.discard(writer)
        writer.close()


class FakeCloudRun:
    """Implements ``cluster.runtime.cloud_run.api.Api``.

    ``create_answers`` are what the next creations raise, ``late`` those that happen nevertheless;
    ``never_ready`` leaves them pending.
    """

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.create_answers: list[str] = []
        self.late = False
        self.never_ready = False
        self.asked: list[str] = []
        self.lists = 0

    async def create(self, place: Place, name: str, document: dict) -> str:
        resource = f"{place.parent}/services/{name}"
        self.asked.append(resource)
        status = self.create_answers.pop(0) if self.create_answers else None
        if status is None or self.late:
            if resource in self.containers:
                raise refusal("ALREADY_EXISTS")
            made = Container(Seen(resource, Phase.PENDING), document)
            uri = await made.open()
            made.seen = Seen(
                resource,
                Phase.PENDING if self.never_ready else Phase.READY,
                uri,
                labels=document["labels"],
                annotations=document["annotations"],
            )
            self.containers[resource] = made
        if status is not None:
            raise refusal(status)
        return f"{place.parent}/operations/{name}"

    async def failure(self, operation: str) -> str | None:
        return None

    async def get(self, resource: str) -> Seen | None:
        found = self.containers.get(resource)
        return found and found.seen

    async def delete(self, resource: str) -> None:
        found = self.containers.pop(resource, None)
        if found is not None:
            await found.close()

    async def list(self, place: Place) -> Sequence[Seen]:
        self.lists += 1
        prefix = f"{place.parent}/"
        return [c.seen for r, c in self.containers.items() if r.startswith(prefix)]

    async def close(self) -> None:
        for resource in list(self.containers):
            await self.delete(resource)

    @property
    def only(self) -> Container:
        (found,) = self.containers.values()
        return found
