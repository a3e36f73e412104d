"""One attempt to start a container: from a socket and a secret to a CODI that answers."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from actors.core.errors.base import Unavailable
from actors.core.records.containers import ContainerHandle, ContainerSpec
from cluster.egress.doorway import INSIDE, PROXY_PORT, SOCKET
from cluster.id_range import IdRange
from cluster.runtime import processes as identity
from cluster.runtime.cgroups import Group
from cluster.runtime.health import is_healthy
from cluster.runtime.ids import user_ids
from cluster.runtime.ids.userns import user_namespace
from cluster.runtime.launching import furnish
from cluster.runtime.launching.spawn import FIRST_DESCRIPTOR, Command, spawn
from cluster.runtime.processes import ProcessIdentity
from cluster.runtime.registry import Entry, Processes, Registry
from cluster.runtime.root import bwrap, rootfs, seccomp, view
from cluster.runtime.root.tables import NAMESPACE_LIMITS, Tables, tables
from cluster.runtime.threads import in_thread

logger = logging.getLogger(__name__)

Answers = Callable[[str, str], Awaitable[bool]]
"""Asks an address, with a container's secret, whether the agent is well."""

_BACKLOG = 512
_STORE_TYPE = socket.SOCK_SEQPACKET
_MOST_MEMORY_OF_TMP = 512 << 20
_MOST_MEMORY_OF_SHM = 64 << 20


class AgentProgram(Protocol):
    """The program inside a container: CODI, as ``cluster.codi.bundle`` packs it.

    ``python_argv`` is the command, to which its descriptors are added; ``ro_binds`` are paths that
    it needs beside ``/usr``, under the same name inside; ``env`` is added to the environment.
    """

    @property
    def python_argv(self) -> Sequence[str]:
        """The command line."""
        ...

    @property
    def ro_binds(self) -> Sequence[str]:
        """Paths to show read-only."""
        ...

    @property
    def lasts(self) -> bool:
        """True if, killed, it can be started again and go on with what its store has."""
        ...

    @property
    def env(self) -> Mapping[str, str]:
        """Environment variables."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """Prerequisites of an attempt: all of them exist already.

    ``open_workspace`` mounts the workspace for root (``Workspaces.open``), and makes its disk if it is to
    have one; ``has_disk`` says whether it does then. ``holders`` are whose the node's workspaces are.
    ``egress`` is where the container meets the egress gateway, if it may; ``variables`` tell its programs.
    """

    spec: ContainerSpec
    node_id: str
    host: str
    workspace: Path
    incarnation: str
    etc: Path
    view: Path
    group: Group | None
    agent: AgentProgram
    launcher: ProcessIdentity
    now: float
    user_ids: IdRange
    ptys: int
    open_workspace: Callable[[], int]
    has_disk: Callable[[], bool]
    holders: Callable[[], frozenset[int]]
    egress: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    answers: Answers = is_healthy


class Launch:
    """One attempt. ``processes`` has at any time what there is to end when it fails."""

    def __init__(self, prepared: Prepared, registry: Registry) -> None:
        self._prepared = prepared
        self._registry = registry
        self._id = prepared.spec.container_id
        self._as_root = os.geteuid() == 0
        self._workspace: int | None = None
        self._tables = _tables(prepared)
        self.processes = Processes(group=prepared.group)

    async def run(self) -> ContainerHandle:
        """Start it and return when CODI answers; the caller sets the time limit.

        Raises OSError or Unavailable and leaves what it started to the caller.
        """
        with _listen(self._prepared.host) as listener:
            host, port = listener.getsockname()[:2]
            handle = self._handle(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
            self._record(handle, ready=False)
            init = await self._start(listener, handle)
        self.processes = self.processes.model_copy(update={"init": init})
        self._record(handle, ready=False)
        await _until_healthy(self._prepared.answers(handle.address, handle.secret), init)
        agent = identity.identify(next(iter(identity.children(init.pid)), 0))
        self.processes = self.processes.model_copy(update={"agent": agent})
        for process in (init, agent):  # CODI is started again with the limits of the first
            if process is not None:
                self._limit_processes(process)
        return self._record(handle, ready=True)

    def _handle(self, address: str) -> ContainerHandle:
        spec = self._prepared.spec
        return ContainerHandle(
            container_id=spec.container_id,
            tenant_id=spec.tenant_id,
            node_id=self._prepared.node_id,
            workspace_id=spec.workspace_id,
            runtime="sandbox",
            address=address,
            secret=spec.secret,
        )

    def _record(self, handle: ContainerHandle, *, ready: bool) -> ContainerHandle:
        handle = handle.model_copy(update={"data": self.processes.model_dump(mode="json")})
        entry = Entry(
            handle=handle,
            launcher=self._prepared.launcher,
            started_at=self._prepared.now,
            ready=ready,
        )
        self._registry.write(entry)
        return handle

    async def _start(self, listener: socket.socket, handle: ContainerHandle) -> ProcessIdentity:
        """Run bubblewrap, furnish the container, and return its first process."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            info_ours, info_theirs = os.pipe()
            _own(ours, info_ours)
            gate = ours.enter_context(_Gate())
            theirs.enter_context(gate.theirs)
            given = _Given(theirs)
            given.own(info_theirs)
            given.own(os.dup(listener.fileno()))
            command = await in_thread(self._command, given, gate.theirs.fileno(), ours)
            await in_thread(self._spawn, command)
            theirs.close()
            self._record(handle, ready=False)
            init = await _first_process(info_ours)
            await gate.arrival()
            if self._workspace is not None:
                await in_thread(furnish.furnish, init.pid, self._workspace, self._tables)
            else:
                await in_thread(self._limit_as_maker, init)
            gate.open()
            return init

    def _limit_as_maker(self, init: ProcessIdentity) -> None:
        try:
            furnish.limit_as_maker(init.pid, self._tables)
        except OSError as error:  # ``coditect doctor`` says so, too
            logger.warning("container %s has no limits of its own: %s", self._id, error)

    def _spawn(self, command: Command) -> None:
        """Spawn, and note at once what was started: the caller may have been cancelled meanwhile."""
        self.processes = self.processes.model_copy(update={"monitor": spawn(command)})

    def _command(self, given: _Given, gate: int, ours: contextlib.ExitStack) -> Command:
        """Put the command together; ``ours`` closes what must last until it runs. Blocks.

        ``given`` has where bubblewrap writes its child's pid, and the listening socket.
        """
        prepared = self._prepared
        user = self._own_user(ours) if self._as_root else 0
        info, listener = given.descriptors
        log = given.own(self._registry.open_log(self._id))
        status = given.own(self._registry.open_status(self._id))
        config = given.own(_in_pipe(self._config()))
        code = seccomp.program(os.uname().machine)
        rules = None if code is None else given.own(_in_memory("seccomp", code))
        descriptors = bwrap.Descriptors(info, status, rules)
        options = bwrap.isolation(descriptors, rootfs.HOST_NAME, as_root=self._as_root)
        variables = {**prepared.variables, **prepared.agent.env, **prepared.spec.env}
        options += rootfs.environment(variables, exists=os.path.exists)
        options += rootfs.mounts(self._layout(), exists=os.path.exists, read_link=rootfs.read_link)
        args = given.own(_in_memory("args", bwrap.encode(options)))
        argv = [bwrap.find().path, "--args", str(args), "--"]
        program = list(prepared.agent.python_argv)
        program += ["--listen-fd", str(listener), "--config-fd", str(config)]
        if prepared.agent.lasts:
            ends = [given.own(end.detach()) for end in socket.socketpair(type=_STORE_TYPE)]
            program += ["--store-fds", ",".join(map(str, ends))]
        argv += bwrap.gated(
            bwrap.inside(program, as_root=self._as_root, lasts=prepared.agent.lasts)
        )
        if self._as_root:
            agent = prepared.user_ids.agent(user)
            namespace = ours.enter_context(user_namespace(user, agent))
            argv = bwrap.limited(argv, NAMESPACE_LIMITS)
            argv = ["nsenter", f"--user=/proc/{os.getpid()}/fd/{namespace}", "--", *argv]
            if not self._processes_are_counted():  # holds for the container's user, not for root
                argv = ["prlimit", f"--nproc={prepared.spec.pids}", "--", *argv]
        members_files = prepared.group.members_files if prepared.group else ()
        usable = sorted(os.sched_getaffinity(0))
        count = view.processors(prepared.spec.cpu, len(usable))
        return Command(
            argv=argv,
            descriptors=given.descriptors,
            stdin=gate,
            log=log,
            members_files=members_files,
            open_files=self._tables.open_files,
            processors=view.pinned(self._id, count, usable),
        )

    def _own_user(self, ours: contextlib.ExitStack) -> int:
        """Take a user id for this container, and open its workspace as that user's."""
        prepared, reserve = self._prepared, user_ids.reserve
        taken = self._registry.user_ids()
        self._workspace = _own(ours, prepared.open_workspace())
        with contextlib.ExitStack() as held:
            user = held.enter_context(reserve(prepared.user_ids, None, taken=taken))
            if not furnish.show_as(self._workspace, user):
                # Files carry the id then, and keep it when the container ends: no other one may have it.
                held.close()
                owner = prepared.workspace.stat().st_uid
                start = (
                    owner - prepared.user_ids.first - 1 if owner in prepared.user_ids.ids else None
                )
                taken |= prepared.holders() - {owner}
                user = held.enter_context(reserve(prepared.user_ids, start, taken=taken))
                furnish.hand_over(self._workspace, user)
            ours.enter_context(held.pop_all())
        self.processes = self.processes.model_copy(update={"user_id": user})
        return user

    def _config(self) -> bytes:
        spec = self._prepared.spec
        config = {
            "container_id": spec.container_id,
            "secret": spec.secret,
            "epoch": spec.epoch,
            "workspace": rootfs.WORKSPACE,
            "incarnation": self._prepared.incarnation,
            "has_disk": self._prepared.has_disk(),
        }
        if self._prepared.egress is not None:
            config |= {"gateway": f"{INSIDE}/{SOCKET}", "proxy_port": PROXY_PORT}
        return json.dumps(config).encode()

    def _layout(self) -> rootfs.Layout:
        tmp_bytes, shm_bytes = _in_memory_bytes(self._prepared.spec)
        group = self._prepared.group
        kernel = view.options(str(self._prepared.view), view.entries())
        return rootfs.Layout(
            kernel=kernel + view.control_groups(group.paths if group else {}),
            workspace=None if self._as_root else str(self._prepared.workspace),
            etc=str(self._prepared.etc),
            read_only=self._prepared.agent.ro_binds,
            egress=str(self._prepared.egress) if self._prepared.egress else None,
            tmp_bytes=tmp_bytes,
            shm_bytes=shm_bytes,
        )

    def _processes_are_counted(self) -> bool:
        group = self._prepared.group
        return group is not None and "pids" in group.controllers

    def _limit_processes(self, agent: ProcessIdentity) -> None:
        """Without a control group that counts processes, limit what CODI's user may have.

        Counted within the container's user namespace since Linux 5.14.
        """
        if not self._as_root and not self._processes_are_counted():
            limit = (self._prepared.spec.pids, self._prepared.spec.pids)
            with contextlib.suppress(PermissionError, ProcessLookupError):
                resource.prlimit(agent.pid, resource.RLIMIT_NPROC, limit)


class _Given:
    """Descriptors that a container is given, with numbers that its shell does not use itself."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.descriptors: list[int] = []

    def own(self, fd: int) -> int:
        """Take a descriptor over and return the one to use, which ``stack`` closes."""
        try:
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR)
        finally:
            os.close(fd)
        self.descriptors.append(_own(self._stack, moved))
        return moved


class _Gate:
    """Holds a container between its set-up and its first program."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ours.close()

    async def arrival(self) -> None:
        """Return when the container waits. Raises Unavailable when it ended instead."""
        await identity.wait_readable(self._ours.fileno())
        if not self._ours.recv(1):
            raise Unavailable("bubblewrap", "it ended while it set the container up")

    def open(self) -> None:
        """Let it begin. Raises OSError when it has ended."""
        self._ours.send(b"\n")


def _in_memory_bytes(spec: ContainerSpec) -> tuple[int, int]:
    """Return the sizes of ``/tmp`` and ``/dev/shm``; what lies there counts as memory."""
    quarter = spec.memory_bytes // 4
    return min(quarter, _MOST_MEMORY_OF_TMP), min(quarter, _MOST_MEMORY_OF_SHM)


def _tables(prepared: Prepared) -> Tables:
    tmp_bytes, shm_bytes = _in_memory_bytes(prepared.spec)
    return tables(
        ptys=prepared.ptys,
        pids=prepared.spec.pids,
        memory_bytes=prepared.spec.memory_bytes,
        tmp_bytes=tmp_bytes,
        shm_bytes=shm_bytes,
        file_max=int(Path("/proc/sys/fs/file-max").read_text(encoding="ascii")),
    )


async def _first_process(info: int) -> ProcessIdentity:
    """Wait for bubblewrap to write its child's pid. Raises Unavailable when it ends without."""
    os.set_blocking(info, False)
    info_text = b""
    while True:
        await identity.wait_readable(info)
        part = os.read(info, 4096)
        info_text += part
        with contextlib.suppress(ValueError, KeyError):
            found = identity.identify(int(json.loads(info_text)["child-pid"]))
            if found is None:
                raise Unavailable("the container", "it ended at once")
            return found
        if not part:
            raise Unavailable("bubblewrap", "it ended before it started the container")


async def _until_healthy(answer: Awaitable[bool], init: ProcessIdentity) -> None:
    """Return when CODI answers. No polling: our connection waits in the socket until CODI takes it."""
    asking = asyncio.ensure_future(answer)
    ending = asyncio.ensure_future(identity.wait_end(init))
    try:
        await asyncio.wait((asking, ending), return_when=asyncio.FIRST_COMPLETED)
        if not asking.done() or isinstance(asking.exception(), OSError):
            raise Unavailable("CODI", "it ended before it answered")
        if not asking.result():
            raise Unavailable("CODI", "it says that it is not healthy")
    finally:
        for task in (asking, ending):
            task.cancel()
        await asyncio.gather(asking, ending, return_exceptions=True)


def _listen(host: str) -> socket.socket:
    """Open a listening socket on a free port of an address of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, 0), family=family, backlog=_BACKLOG)


def _in_memory(name: str, content: bytes) -> int:
    """Return a descriptor from which ``content`` can be read."""
    fd = os.memfd_create(f"coditect-{name}", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _in_pipe(content: bytes) -> int:
    """Return a descriptor from which ``content`` can be read once: a secret must not stay about."""
    reader, writer = os.pipe()
    with open(writer, "wb") as file:
        file.write(content)  # small: it fits the pipe
    return reader


def _own(stack: contextlib.ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd
