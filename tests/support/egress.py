"""A gateway over records in memory, containers with CODI that go out by it, and a place to go to."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.core.errors.base import CoditectError
from actors.core.informer import Informer
from actors.core.records.accounts import AuditEntry
from actors.core.records.containers import ContainerHandle, ContainerRecord, ContainerStatus
from actors.core.records.egress import EgressPolicy, EgressUse, NetworkRecord
from actors.core.records.environment import Binding, SecretRecord
from actors.core.records.sessions import Route
from cluster.clock import SystemClock
from cluster.codi.client import HttpCodiClient
from cluster.egress.authority import Authority
from cluster.egress.bound import BoundSecrets
from cluster.egress.gateway import Gateway
from cluster.egress.policy import Rules, parse_hosts
from cluster.egress.rates import Limits
from cluster.egress.resolver import Resolver, look_up
from cluster.egress.sessions import Sessions
from cluster.egress.tls import upstream_context
from cluster.egress.turns import Turns
from cluster.egress.visit import Network, is_own
from cluster.runtime.registry import user_of
from cluster.secrets.keys import SecretLocked
from tests.fakes.feed import MemoryFeed
from tests.support.waiting import wait_until


class MemoryBooks:
    """What the store keeps of networks, in memory."""

    def __init__(self) -> None:
        self.used: dict[str, EgressUse] = {}

    async def get(self, session_id: str) -> tuple[NetworkRecord | None, EgressUse | None]:
        return None, self.used.get(session_id)

    async def note_use(self, used: Sequence[EgressUse]) -> None:
        self.used |= {use.session_id: use for use in used}


class MemorySecrets:
    """Users' secrets, in memory and in clear."""

    def __init__(self) -> None:
        self.version = 0
        self.records: dict[str, list[SecretRecord]] = {}
        self.failing: CoditectError | None = None

    def bind(self, user_id: str, name: str, value: str, host: str, binding: Binding) -> None:
        """Bind a secret to a host, in the place of one of that name."""
        record = SecretRecord(
            name=name,
            host=host,
            binding=binding,
            key_id="none",
            sealed=value,
            size=0,
            created_at=0.0,
            updated_at=0.0,
        )
        self.forget(user_id, name)
        self.records[user_id] += [record]

    def forget(self, user_id: str, name: str) -> None:
        """Take a secret back."""
        kept = [each for each in self.records.get(user_id, []) if each.name != name]
        self.records[user_id] = kept
        self.version += 1

    async def user_version(self, user_id: str) -> int:
        if self.failing is not None:
            raise self.failing
        return self.version

    async def bound_secrets(self, user_id: str) -> tuple[int, list[SecretRecord]]:
        return self.version, list(self.records.get(user_id, []))

    def open(self, user_id: str, record: SecretRecord) -> str:
        if record.sealed == "locked":
            raise SecretLocked("it is")
        return record.sealed


class MemoryTrail:
    """An audit trail in memory."""

    def __init__(self) -> None:
        self.lines: list[AuditEntry] = []

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        self.lines += entries

    def said(self) -> set[tuple[str, str]]:
        """Return hosts with results."""
        return {(line.resource.rpartition("/")[2], line.result) for line in self.lines}


@dataclass
class Node:
    """A node's gateway, and the records that it follows; ``names`` lead where the machine's do not."""

    data_dir: Path
    rules: Rules = field(default_factory=Rules)
    limits: Limits = field(default_factory=Limits)
    names: dict[str, list[str]] = field(default_factory=dict)
    containers: dict[str, ContainerRecord] = field(default_factory=dict)
    choices: dict[str, NetworkRecord] = field(default_factory=dict)
    books: MemoryBooks = field(default_factory=MemoryBooks)
    trail: MemoryTrail = field(default_factory=MemoryTrail)
    secrets: MemorySecrets = field(default_factory=MemorySecrets)
    upstream: ssl.SSLContext = field(default_factory=upstream_context)

    def __post_init__(self) -> None:
        self.changed = asyncio.Event()
        self.gateway: Gateway | None = None
        self.sessions: Sessions | None = None
        self._running: asyncio.Task[None] | None = None

    def _feed(self, records: dict[str, Any]) -> Informer[Any]:
        clock = SystemClock()
        return Informer(MemoryFeed(lambda: records, clock, self.changed), clock)

    def start(self) -> Gateway:
        """Start a gateway."""
        turns, clock = Turns(asyncio.get_running_loop().time), SystemClock()
        self.sessions = Sessions("t", self.books, self.trail, self.rules, self.limits, turns, clock)
        self.gateway = Gateway(
            self.data_dir.resolve(),
            containers=self._feed(self.containers),
            networks=self._feed(self.choices),
            sessions=self.sessions,
            turns=turns,
            network=Network(
                Resolver(self._look_up),
                is_own,
                BoundSecrets(self.secrets, clock),
                Authority(self.data_dir.resolve(), clock.now),
                lambda: self.upstream,
            ),
            limits=self.limits,
            user_of=user_of,
            clock=clock,
            most=4096,
        )
        self._running = asyncio.create_task(self.gateway.run())
        return self.gateway

    def _look_up(self, host: str, port: int) -> list[str]:
        return self.names.get(host) or look_up(host, port)

    async def stop(self) -> None:
        """Stop the gateway, if one runs."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            assert self.gateway is not None
            await self.gateway.close()
        self._running = None

    async def serve(self, handle: ContainerHandle, session_id: str | None) -> None:
        """Take note of a container, and wait until its programs have a way out."""
        self.containers[handle.container_id] = ContainerRecord(
            container_id=handle.container_id,
            tenant_id="t",
            node_id="n",
            workspace_id=handle.workspace_id,
            runtime="sandbox",
            status=ContainerStatus.READY,
            session_id=session_id,
            user_id=f"u-{session_id}",
            handle=handle,
            created_at=0.0,
        )
        self.changed.set()
        await self.connected()

    async def connected(self) -> None:
        """Wait until each container has handed its socket over."""

        async def is_connected() -> bool:
            assert self.gateway is not None
            stats = self.gateway.stats()
            return bool(stats["containers_connected"] == len(self.containers))

        await wait_until(is_connected)

    def choose(self, session_id: str, policy: EgressPolicy, *allow: str) -> None:
        """Have a session's owner choose."""
        self.choices[session_id] = NetworkRecord(
            session_id=session_id, policy=policy, allow=allow, updated_at=0.0
        )
        self.changed.set()


@dataclass(frozen=True)
class Inside:
    """A container, for running programs in it."""

    handle: ContainerHandle
    client: HttpCodiClient

    async def run(self, script: str, seconds: float = 60.0) -> str:
        """Run a script, and return what it prints, errors too."""
        route = Route.to(self.handle, f"s-{self.handle.container_id}", 1)
        argv = ["/bin/bash", "-c", f"exec 2>&1\n{script}"]
        answer = await self.client.exec(route, argv, timeout_seconds=seconds)
        return str(answer["stdout"])


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/redirect?"):
            self.send_response(302)
            self.send_header("location", self.path.partition("?")[2])
            self.send_header("content-length", "0")
            self.end_headers()
        elif self.path.startswith("/bytes?"):
            left = int(self.path.partition("?")[2])
            self.send_response(200)
            self.send_header("content-length", str(left))
            self.end_headers()
            piece = b"x" * 65536
            with contextlib.suppress(OSError):
                while left > 0:
                    self.wfile.write(piece[: min(left, len(piece))])
                    left -= len(piece)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def web(directory: Path) -> Iterator[int]:
    """Serve a directory by HTTP on a port of this machine, with ``/redirect?URL`` and ``/bytes?N``."""

    def handle(*arguments: Any) -> _Handler:
        return _Handler(*arguments, directory=str(directory))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handle) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def named(*hosts: str) -> Rules:
    """Return rules of an operator who names hosts of this machine."""
    return Rules(hosts=parse_hosts(",".join(hosts)))
