"""Handlers of CODI's calls, one by one; see docs/design/codi.md."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from cluster.codi.agent import egress, introduction
from cluster.codi.agent.background.programs import BackgroundPrograms
from cluster.codi.agent.background.routes import BackgroundRoutes
from cluster.codi.agent.changes import routes as feed_routes
from cluster.codi.agent.changes.watching import WatchRoutes
from cluster.codi.agent.config import Config
from cluster.codi.agent.errors import AgentError, invalid, not_found
from cluster.codi.agent.exchange import Exchange
from cluster.codi.agent.fdstore import Store
from cluster.codi.agent.files import routes as file_routes
from cluster.codi.agent.files.disk import Disk
from cluster.codi.agent.ports.listeners import Listeners
from cluster.codi.agent.ports.tunnel import Tunnels, port_number
from cluster.codi.agent.ports.watch import PortWatch
from cluster.codi.agent.programs.activity import Activity
from cluster.codi.agent.programs.children import Children
from cluster.codi.agent.programs.guard import Guard
from cluster.codi.agent.programs.output import LeftOpen
from cluster.codi.agent.programs.personal import PersonalEnvironment
from cluster.codi.agent.programs.processes import processes
from cluster.codi.agent.programs.routes import ProgramRoutes
from cluster.codi.agent.searching.routes import SearchRoutes
from cluster.codi.agent.terminals.journal_feed import JournalFeed
from cluster.codi.agent.terminals.journal_socket import JournalSocket
from cluster.codi.agent.terminals.socket import TerminalSocket
from cluster.codi.agent.terminals.terminals import DEFAULT_SIZE, Terminals
from cluster.codi.agent.websocket import check_upgrade, upgrade
from cluster.codi.terminals.frames import BadFrame, check_size, parse_request

_CLOSE_GOING_AWAY = 1001

# What a person does. Everything else the server asks by itself: it keeps no container awake, and a
# closed one still answers it.
_PERSONAL = frozenset(
    {"exec", "processes", "programs", "search", "tree", "files", "archive", "move", "directories"}
)

Handler = Callable[[Exchange, bytes], Awaitable[None]]


class Routes:
    """Everything but ``/health``."""

    def __init__(self, config: Config, guard: Guard, store: Store) -> None:
        self._config = config
        self._guard = guard
        self._children = Children()
        self._journal = JournalFeed()
        self.terminals = Terminals(config, self._children, self._journal, store)
        closed_ports = frozenset({config.port, config.proxy_port})
        listeners = Listeners(closed_ports)
        self._ports = PortWatch(listeners, self._journal.ports)
        self._activity = Activity(listeners)
        self._lending = self._lend(store)
        self._files = file_routes.FileRoutes(config)
        self._feed = feed_routes.FeedRoutes(config, self._files.workspace, self._files.run)
        self._sockets: dict[int, TerminalSocket] = {}
        self._journals: set[JournalSocket] = set()
        self._keys = itertools.count()
        self._left_open = LeftOpen(store)
        self._tunnels = Tunnels(self._activity.note, closed_ports)
        self._programs = ProgramRoutes(
            config, self._children, self._left_open, self._activity, store, self._files
        )
        self._background = BackgroundPrograms(
            config, self._children, self._journal, self._left_open, store
        )
        named = BackgroundRoutes(self._background)
        watching = WatchRoutes(self._feed.watcher, self._files.workspace, self._files.run)
        searching = SearchRoutes(self._files, self._children, self._left_open)
        self._gitconfig = introduction.place(config.container_id)
        os.environ.setdefault("GIT_CONFIG_SYSTEM", self._gitconfig)
        self._personal = PersonalEnvironment(os.environ)
        self._table: dict[tuple[str, str], Handler] = {
            ("PUT", "epoch"): self._put_epoch,
            ("PUT", "environment"): self._put_environment,
            ("GET", "terminals"): self._get_terminals,
            ("POST", "terminals"): self._post_terminal,
            ("DELETE", "terminals"): self._delete_terminal,
            ("POST", "exec"): self._programs.execute,
            ("GET", "processes"): self._get_processes,
            ("GET", "programs"): named.get,
            ("POST", "programs"): named.post,
            ("DELETE", "programs"): named.delete,
            ("GET", "activity"): self._get_activity,
            ("GET", "ports"): self._get_ports,
            ("DELETE", "ports"): self._delete_port,
            ("GET", "disk"): self._get_disk,
            ("GET", "incarnation"): self._get_incarnation,
            ("POST", "seal"): self._post_seal,
            ("GET", "tree"): self._files.tree,
            ("GET", "files"): self._files.get,
            ("HEAD", "files"): self._files.get,
            ("GET", "archive"): self._files.archive,
            ("PUT", "archive"): self._files.extract,
            ("PUT", "files"): self._files.put,
            ("DELETE", "files"): self._files.delete,
            ("POST", "move"): self._files.move,
            ("GET", "watch"): watching.watch,
            ("POST", "search"): searching.search,
            ("POST", "directories"): self._files.make_directory,
            ("GET", "changes"): self._feed.changes,
            ("POST", "look"): self._feed.look,
            ("POST", "listings"): self._feed.listings,
            ("POST", "contents"): self._feed.contents,
            ("POST", "cut"): self._feed.cut,
            ("POST", "blocks"): self._feed.blocks,
            ("POST", "restore"): self._feed.restore,
        }
        self._names = {name for _, name in self._table}

    async def dispatch(self, exchange: Exchange) -> bool:
        """Answer a request; true when its connection now belongs to a socket. Raises AgentError."""
        self._personal.require(exchange.headers)
        name, _, rest = exchange.target.removeprefix("/").partition("/")
        if name == "terminals" and rest.endswith("/ws") and exchange.method == "GET":
            self._activity.refuse_if_sealed()
            return self._open_socket(exchange, _text(rest.removesuffix("/ws")))
        if name == "tcp" and exchange.method == "GET":
            with self._activity.answering():
                await self._tunnels.open(exchange, port_number(rest))
            return True
        if (name, rest, exchange.method) == ("exec", "ws", "GET"):
            self._activity.refuse_if_sealed()
            return self._programs.open_socket(exchange)
        handler = self._table.get((exchange.method, name))
        if handler is None:
            if name in self._names:
                raise AgentError(405, "method_not_allowed", f"/{name} does not take it")
            raise not_found(f"call /{name}")
        looks_on = name == "programs" and exchange.method == "GET"
        if name in _PERSONAL and not looks_on:
            with self._activity.answering():
                await handler(exchange, unquote_to_bytes(rest))
        else:
            await handler(exchange, unquote_to_bytes(rest))
        return False

    async def close(self, timeout_seconds: float) -> None:
        """End the sockets, the terminals and every other program, within the time.

        The journal goes first: that the shells end with their container is not their exit.
        """
        for journal in list(self._journals):
            journal.close(_CLOSE_GOING_AWAY, "the container is stopping")
        for socket in list(self._sockets.values()):
            socket.close(_CLOSE_GOING_AWAY, "the container is stopping")
        self._programs.close(_CLOSE_GOING_AWAY, "the container is stopping")
        if self._lending is not None:
            self._lending.cancel()
        try:
            async with asyncio.timeout(timeout_seconds):
                await asyncio.gather(self.terminals.close(), self._background.close())
        except TimeoutError:
            pass
        finally:
            for child in self._children.living:
                child.signal_group(signal.SIGKILL)
        self._left_open.close()
        self._tunnels.close()
        self._ports.close()
        self._feed.close()
        self._files.close()

    def _lend(self, store: Store) -> asyncio.Task[None] | None:
        """Give programs their way out, where there is one."""
        if not self._config.gateway:
            return None
        listener = egress.open_port(self._config.proxy_port, store)
        if listener is None:
            return None
        return asyncio.get_running_loop().create_task(egress.lend(listener, self._config.gateway))

    async def _put_epoch(self, exchange: Exchange, _rest: bytes) -> None:
        body = await exchange.json()
        email, environment = body.get("email"), body.get("environment")
        if email is not None:
            try:
                introduction.write(self._gitconfig, str(email))
            except ValueError as error:
                raise invalid(f"email: {error}") from None
        if environment is not None:
            self._take_environment(environment)
        self._activity.unseal()
        exchange.answer(200, {"epoch": self._guard.epoch, "session_id": self._guard.session_id})

    async def _put_environment(self, exchange: Exchange, _rest: bytes) -> None:
        self._take_environment(await exchange.json())
        exchange.answer(200, {"version": self._personal.version})

    def _take_environment(self, document: Any) -> None:
        self._personal.take(document)
        if (repository := document.get("dotfiles")) is not None:
            from cluster.codi.agent.programs import dotfiles  # noqa: PLC0415 - once in a workspace's life

            home = os.environ.get("HOME", self._config.workspace)
            dotfiles.begin(self._children, home, repository)

    async def _get_terminals(self, exchange: Exchange, _rest: bytes) -> None:
        exchange.answer(200, [terminal.describe() for terminal in self.terminals.all])

    async def _post_terminal(self, exchange: Exchange, _rest: bytes) -> None:
        body = await exchange.json()
        name, cwd = body.get("name"), body.get("cwd")
        if not isinstance(name, str):
            raise invalid("name: a text")
        if cwd is not None and (not isinstance(cwd, str) or "\0" in cwd):
            raise invalid("cwd: a path")
        size = None
        if "cols" in body or "rows" in body:
            cols, rows = body.get("cols", DEFAULT_SIZE[0]), body.get("rows", DEFAULT_SIZE[1])
            size = _checked_size(cols, rows)
        terminal, created = self.terminals.create(
            name,
            size=size,
            cwd=self._absolute(cwd) if cwd else None,
        )
        exchange.answer(201 if created else 200, terminal.describe())

    async def _delete_terminal(self, exchange: Exchange, rest: bytes) -> None:
        await self.terminals.delete(rest.decode("utf-8", "replace"))
        exchange.answer(200, {})

    async def _get_processes(self, exchange: Exchange, _rest: bytes) -> None:
        exchange.answer(200, processes())

    async def _get_ports(self, exchange: Exchange, _rest: bytes) -> None:
        watch = dict(parse_qsl(exchange.query)).get("watch", "0")
        if not (watch.isascii() and watch.isdigit() and len(watch) < 6):
            raise invalid("watch: a number of seconds")
        exchange.answer(200, {"ports": self._ports.ports(float(watch))})

    async def _delete_port(self, exchange: Exchange, rest: bytes) -> None:
        with self._activity.answering():
            stopped = await self._ports.stop(port_number(rest.decode("utf-8", "replace")))
        exchange.answer(200, {"stopped": stopped})

    async def _get_disk(self, exchange: Exchange, _rest: bytes) -> None:
        disk = Disk(self._config.workspace, limited=self._config.has_disk)
        exchange.answer(200, disk.usage())

    async def _get_incarnation(self, exchange: Exchange, _rest: bytes) -> None:
        exchange.answer(200, {"incarnation": self._config.incarnation})

    async def _get_activity(self, exchange: Exchange, _rest: bytes) -> None:
        exchange.answer(200, self._activity.look(self._shells()))

    async def _post_seal(self, exchange: Exchange, _rest: bytes) -> None:
        body = await exchange.json()
        names = ("since", "cpu_seconds", "cpu_share", "seconds")
        since, cpu, share, seconds = (_number(name, body.get(name)) for name in names)
        self._activity.seal(self._shells(), since=since, cpu=cpu, share=share, seconds=seconds)
        for socket in list(self._sockets.values()):  # what they have not acknowledged is sent again
            socket.close(_CLOSE_GOING_AWAY, "the container is about to stop")
        exchange.answer(200, {})

    def _shells(self) -> list[int]:
        described = [terminal.describe() for terminal in self.terminals.all]
        return [terminal["pid"] for terminal in described if terminal["pid"] is not None]

    def _absolute(self, cwd: str) -> str:
        """Programs may start wherever the user may go; what is relative is so to the workspace."""
        return os.path.join(self._config.workspace, cwd)

    def _open_socket(self, exchange: Exchange, name: str) -> bool:
        """Upgrade to a terminal's socket; what is wrong is refused before that, as an HTTP answer."""
        try:
            request = parse_request(dict(parse_qsl(exchange.query)))
        except (BadFrame, ValueError) as error:
            raise invalid(str(error)) from None
        accept = check_upgrade(exchange)
        began = False
        if request.create:
            terminal, began = self.terminals.create(name, size=request.size)
        else:
            terminal = self.terminals.get(name)
        key = next(self._keys)
        socket = TerminalSocket(key, exchange.link.transport, terminal, self._forget)
        self._sockets[key] = socket
        socket.start(request, upgrade(exchange, socket, accept), began=began)
        return True

    def open_journal(self, exchange: Exchange) -> bool:
        """Upgrade to the journal's socket; the newest one serves, and former ones are closed."""
        accept = check_upgrade(exchange)
        socket = JournalSocket(exchange.link.transport, self._journal, self._journals.discard)
        self._journals.add(socket)
        socket.start(upgrade(exchange, socket, accept))
        return True

    def _forget(self, socket: TerminalSocket) -> None:
        self._sockets.pop(socket.key, None)


def _checked_size(cols: Any, rows: Any) -> tuple[int, int]:
    try:
        return check_size(cols, rows)
    except BadFrame as error:
        raise invalid(str(error)) from None


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not value >= 0:
        raise invalid(f"{name}: a number ≥ 0")
    return float(value)


def _text(encoded: str) -> str:
    return unquote_to_bytes(encoded).decode("utf-8", "replace")
