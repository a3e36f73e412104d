"""The calls that run programs: to their end, or on a socket."""

from __future__ import annotations

import contextlib
import os
import select
import signal

from cluster.codi.agent.config import Config
from cluster.codi.agent.exchange import Exchange
from cluster.codi.agent.fdstore import Store
from cluster.codi.agent.files.disk import Disk
from cluster.codi.agent.files.routes import FileRoutes
from cluster.codi.agent.files.spills import Spill
from cluster.codi.agent.programs import execute
from cluster.codi.agent.programs.activity import Activity
from cluster.codi.agent.programs.children import Child, Children
from cluster.codi.agent.programs.output import LeftOpen, Output
from cluster.codi.agent.programs.running import MAX_ONE_SHOT, MAX_STREAMS, Running
from cluster.codi.agent.programs.socket import ProgramSocket
from cluster.codi.agent.programs.starting import Wanted
from cluster.codi.agent.programs.terminal import environment
from cluster.codi.agent.slots import Slots
from cluster.codi.agent.websocket import check_upgrade, upgrade
from cluster.codi.programs.frames import Start

_KEY = "stream-"


class ProgramRoutes:
    """Handlers for the table in ``routes``."""

    def __init__(
        self,
        config: Config,
        children: Children,
        left_open: LeftOpen,
        activity: Activity,
        store: Store,
        files: FileRoutes,
    ) -> None:
        self._config = config
        self._children = children
        self._left_open = left_open
        self._activity = activity
        self._store = store
        self._files = files
        self._disk = Disk(config.workspace, limited=config.has_disk)
        self._one_shot = Slots(MAX_ONE_SHOT, "programs run")
        self._streams = Slots(MAX_STREAMS, "programs run")
        self._sockets: set[ProgramSocket] = set()
        self._end_those_of_former_sockets()

    async def execute(self, exchange: Exchange, _rest: bytes) -> None:
        """``POST /exec``."""
        body = await exchange.json()
        wanted = Wanted.parse(body.get("argv"), body.get("cwd"), body.get("env"))
        limit = execute.check_timeout(body.get("timeout_seconds"), self._config.exec_timeout)
        stdin = execute.check_stdin(body.get("stdin"))
        with self._one_shot.held():
            program = execute.execute(
                self._children,
                self._left_open,
                wanted,
                workspace=self._config.workspace,
                environment=environment(os.environ),
                stdin=stdin,
                timeout_seconds=limit,
                outputs=(self._output("stdout"), self._output("stderr")),
            )
            answer = await exchange.while_connected(program)
        exchange.answer(200, answer)

    def _output(self, stream: str) -> Output:
        return Output(
            self._config.exec_output, Spill(self._files.workspace, stream), self._files.run
        )

    def open_socket(self, exchange: Exchange) -> bool:
        """``GET /exec/ws``: upgrade; what program it is says the first frame."""
        accept = check_upgrade(exchange)
        self._streams.take()
        socket = ProgramSocket(
            exchange.link.transport, self._launch, self._left_open, self._disk.error, self._lost
        )
        self._sockets.add(socket)
        self._activity.begin()
        socket.start(upgrade(exchange, socket, accept))
        return True

    def close(self, code: int, reason: str) -> None:
        """End the sockets."""
        for socket in list(self._sockets):
            socket.close(code, reason)

    def _lost(self, socket: ProgramSocket) -> None:
        self._sockets.discard(socket)
        self._streams.give_back()
        self._activity.end()

    def _launch(self, asked: Start) -> Running:
        wanted = Wanted.parse(asked.argv, asked.cwd, asked.env)
        place = self._config.workspace, environment(os.environ)
        if asked.tty is None:
            running = Running.with_pipes(self._children, wanted, *place)
        else:
            running = Running.on_terminal(self._children, wanted, *place, asked.tty)
        if asked.on_close == "kill":
            self._remember(running.child)
        return running

    # ---- when CODI is killed --------------------------------------------------------------------

    def _remember(self, child: Child) -> None:
        """Have the next CODI end a program whose socket goes with this one."""
        key = f"{_KEY}{child.pid}"
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(child.pid)
            try:
                self._store.put(key, descriptors=[descriptor])
            finally:
                os.close(descriptor)
            child.exited.add_done_callback(lambda _exited: self._store.drop(key))

    def _end_those_of_former_sockets(self) -> None:
        for key, (_, descriptors) in self._store.left_with(_KEY).items():
            for descriptor in descriptors:
                # Readable once it has ended: then its number may be another one's.
                if not select.select([descriptor], [], [], 0)[0]:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.killpg(int(key.removeprefix(_KEY)), signal.SIGKILL)
                os.close(descriptor)
            self._store.drop(key)
