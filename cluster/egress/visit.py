"""One connection from inside of a container: whose it is, where it goes, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from cluster.egress import http_server, policy, socks, socks_server
from cluster.egress.addresses import refusal
from cluster.egress.authority import Authority
from cluster.egress.binding import Bound
from cluster.egress.bound import BoundSecrets
from cluster.egress.conversation import Refusal, Unreached
from cluster.egress.resolver import Resolver, Unresolved
from cluster.egress.sessions import Session, Sessions
from cluster.egress.tunnel import Tunnel
from cluster.egress.turns import Turns
from cluster.egress.wire import Wire

_CONNECT_SECONDS = 10.0
_ADDRESSES = 4


@dataclass(frozen=True, slots=True)
class Network:
    """What the gateway needs of its machine. ``is_own`` says whether an address is this machine's.

    ``secrets`` are added to requests; ``authority`` and ``upstream`` are for those by HTTPS.
    """

    resolver: Resolver
    is_own: Callable[[str], bool]
    secrets: BoundSecrets
    authority: Authority
    upstream: Callable[[], ssl.SSLContext]


def is_own(address: str) -> bool:
    """Return whether an address is this machine's: a socket can be bound to it. Sends nothing.

    Where any address may be bound (``ip_nonlocal_bind``), the kernel is asked how it would reach it.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        try:
            asked.bind((address, 0))
        except OSError:
            return False
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((address, 9))
        except OSError:
            return True
        return not _binds_anything(family) or bool(asked.getsockname()[0] == address)


def _binds_anything(family: socket.AddressFamily) -> bool:
    """Return whether sockets can be bound to addresses of other machines here."""
    elsewhere = "2001:db8::1" if family is socket.AF_INET6 else "192.0.2.1"  # documentation's
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        try:
            asked.bind((elsewhere, 0))
        except OSError:
            return False
        return True


class Way:
    """A connection to outside, of one visit at a time."""

    def __init__(
        self, host: str, port: int, outside: socket.socket, task: asyncio.Task[None]
    ) -> None:
        self.host = host
        self.port = port
        self.outside = outside
        self._task = task
        self._tunnel: Tunnel | None = None
        self._loop = asyncio.get_running_loop()
        self._active_at = self._loop.time()

    @property
    def active_at(self) -> float:
        """When it last moved something."""
        return self._tunnel.active_at if self._tunnel is not None else self._active_at

    def moved(self) -> None:
        """Take note that something goes on."""
        self._active_at = self._loop.time()

    async def move(self, tunnel: Tunnel, early: bytes) -> None:
        """Move bytes until the end."""
        self._tunnel = tunnel
        tunnel.begin(early)
        await tunnel.ended

    def end(self) -> None:
        """End it, from wherever."""
        if self._tunnel is not None:
            self._tunnel.close()
        else:
            self._task.cancel()


class Visit:
    """Implements ``conversation.Visit``."""

    def __init__(
        self,
        inside: socket.socket,
        session: Session,
        sessions: Sessions,
        network: Network,
        turns: Turns,
    ) -> None:
        self._session = session
        self._sessions = sessions
        self._network = network
        self._turns = turns
        self._way: Way | None = None
        self.inside = Wire(inside, turns, session.session_id)

    async def serve(self, first: bytes) -> None:
        """Hold the conversation that ``first`` begins. Raises OSError, TimeoutError."""
        try:
            if first[0] == socks.VERSION:
                await socks_server.serve(self, first)
            else:
                await http_server.serve(self, first)
        finally:
            self._leave()

    async def dial(self, host: str, port: int) -> socket.socket:
        """Connect to a host. Raises Refusal, Unreached."""
        self._leave()
        try:
            name = policy.normal(host)
        except ValueError:
            shown = ascii(host[: policy.MAX_HOST])[1:-1][: policy.MAX_HOST]
            raise self._refused(shown, port, Refusal("bad_host", "that is no host name")) from None
        try:
            verdict = self._sessions.decide(self._session, name, port)
            addresses = await self._resolve(name, port)
            allowed = addresses if verdict.private else self._judge(name, addresses)
        except Refusal as error:
            raise self._refused(name, port, error) from None
        outside = await self._connect(name, allowed[:_ADDRESSES], port)
        try:
            # Its owner may have chosen otherwise meanwhile, and others of the session have connected.
            self._sessions.decide(self._session, name, port)
        except Refusal as error:
            outside.close()
            raise self._refused(name, port, error) from None
        task = asyncio.current_task()
        assert task is not None, "a conversation is a task"
        self._way = Way(name, port, outside, task)
        self._sessions.connect(self._session, self._way)
        return outside

    async def tunnel(self, outside: socket.socket, early: bytes) -> None:
        """Move bytes until both sides have ended."""
        assert self._way is not None, "it was dialled"
        tunnel = Tunnel(
            self._turns,
            self._session.session_id,
            self.inside.socket,
            outside,
            self._count_tunnelled,
        )
        try:
            await self._way.move(tunnel, early)
        finally:
            tunnel.close()

    @property
    def place(self) -> tuple[str, int]:
        """The host, and the port, that were dialled last."""
        assert self._way is not None, "it was dialled"
        return self._way.host, self._way.port

    @property
    def _whose(self) -> str:
        return self._session.user_id or self._session.session_id

    @property
    def upstream(self) -> ssl.SSLContext:
        """How hosts are checked."""
        return self._network.upstream()

    def context(self, host: str) -> ssl.SSLContext:
        """Return how to be a host to the container's programs. Raises Unreached."""
        return self._network.authority.context(self._whose, host)

    async def bound(self) -> Bound | None:
        """Return which secrets requests to what was dialled last get. Raises Unreached."""
        user_id = self._session.user_id
        return None if user_id is None else await self._network.secrets.at(user_id, *self.place)

    async def headers(self, bound: Bound) -> list[tuple[bytes, bytes]]:
        """Return the headers of these secrets. Raises Refusal, Unreached."""
        assert self._session.user_id is not None, "nobody has secrets"
        try:
            return await self._network.secrets.headers(self._session.user_id, bound)
        except Refusal as error:
            raise self._refused(*self.place, error) from None

    def note_added(self, bound: Bound) -> None:
        """Note that a request gets these secrets."""
        names = [record.name for record in bound.records]
        self._sessions.add_secrets(self._session, f"{bound.host}:{bound.port}", names)

    def outside_wire(self, outside: socket.socket) -> Wire:
        """Return the other side as a wire."""
        return Wire(outside, self._turns, self._session.session_id, self._count)

    def _count(self, sent: int, received: int) -> None:
        if self._way is not None:
            self._way.moved()
        self._sessions.count(self._session, sent, received)

    def _count_tunnelled(self, sent: int, received: int) -> None:
        with contextlib.suppress(
            Refusal
        ):  # the tunnel is closed then, with all others of the session
            self._sessions.count(self._session, sent, received)

    async def _resolve(self, name: str, port: int) -> list[str]:
        try:
            return await self._network.resolver.resolve(self._whose, name, port)
        except Unresolved as error:
            raise Unreached(str(error)) from None

    def _judge(self, name: str, addresses: list[str]) -> list[str]:
        """Return the addresses that may be reached. Raises Refusal when none may."""
        allowed, first = [], Refusal("unresolved", f"{name} has no address")
        for address in reversed(addresses):
            found = refusal(address, self._sessions.refuse_networks)
            if found is None and self._network.is_own(address):
                found = "own_address", "is the server's own"
            if found is None:
                allowed.append(address)
            else:
                words = f"{address} {found[1]}"
                if name != address:
                    words = f"{name} ({address}) {found[1]}; operators allow it by egress_hosts"
                first = Refusal(found[0], words)
        if not allowed:
            raise first
        return allowed[::-1]

    def _refused(self, host: str, port: int, error: Refusal) -> Refusal:
        self._sessions.refuse(self._session, host, port, error)
        return error

    async def _connect(self, name: str, addresses: list[str], port: int) -> socket.socket:
        """Connect to the first of these addresses that answers, and to nothing else. Raises Unreached."""
        loop, words = asyncio.get_running_loop(), "no answer"
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            outside = socket.socket(family, socket.SOCK_STREAM)
            try:
                outside.setblocking(False)  # noqa: FBT003 - its name says it
                outside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                outside.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await loop.sock_connect(outside, (address, port))
            except (OSError, TimeoutError) as error:
                outside.close()
                words = getattr(error, "strerror", None) or f"no answer in {_CONNECT_SECONDS:g} s"
            except BaseException:
                outside.close()
                raise
            else:
                return outside
        raise Unreached(f"{name}:{port}: {words}")

    def _leave(self) -> None:
        """Be done with the connection to outside."""
        if self._way is not None:
            self._session.ways.discard(self._way)
            self._way.outside.close()
            self._way = None
