"""One attempt to start a container: from a socket and a secret to a CODI that answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from actors.errors import Unavailable
from actors.records import ContainerHandle, ContainerSpec
from cluster.runtime import bwrap, identity, rootfs, seccomp
from cluster.runtime.cgroups import Group
from cluster.runtime.health import is_healthy
from cluster.runtime.identity import ProcessIdentity
from cluster.runtime.registry import Entry, Processes, Registry
from cluster.runtime.spawn import Command, spawn
from cluster.runtime.threads import in_thread
from cluster.runtime.userns import user_namespace

_BACKLOG = 512
_MOST_MEMORY_OF_TMP = 512 << 20
_MOST_MEMORY_OF_SHM = 64 << 20


class AgentProgram(Protocol):
    """What runs inside: CODI, as ``cluster.codi.bundle`` packs it.

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
    def env(self) -> Mapping[str, str]:
        """Environment variables."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """What an attempt is given: all of it exists already."""

    spec: ContainerSpec
    node_id: str
    host: str
    workspace: Path
    incarnation: str
    etc: Path
    group: Group | None
    agent: AgentProgram
    launcher: ProcessIdentity
    now: float


class Launch:
    """One attempt. ``processes`` tells at any time what there is to end when it fails."""

    def __init__(self, prepared: Prepared, registry: Registry) -> None:
        self._prepared = prepared
        self._registry = registry
        self._id = prepared.spec.container_id
        self._as_root = os.geteuid() == 0
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
        await _until_healthy(handle, init)
        agent = identity.identify(next(iter(identity.children(init.pid)), 0))
        self.processes = self.processes.model_copy(update={"agent": agent})
        if agent is not None:
            self._limit_processes(agent)
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
        """Run bubblewrap and return the first process of the container."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            info_ours, info_theirs = os.pipe()
            _own(ours, info_ours)
            _own(theirs, info_theirs)
            command = self._command(listener.fileno(), info_theirs, ours, theirs)
            await in_thread(self._spawn, command)
            theirs.close()
            self._record(handle, ready=False)
            return await _first_process(info_ours)

    def _spawn(self, command: Command) -> None:
        """Spawn, and note at once what was started: the caller may have been cancelled meanwhile."""
        self.processes = self.processes.model_copy(update={"monitor": spawn(command)})

    def _command(
        self, listener: int, info: int, ours: contextlib.ExitStack, theirs: contextlib.ExitStack
    ) -> Command:
        """Put the command together. Its descriptors are closed by ``theirs`` once it has them."""
        prepared = self._prepared
        log = _own(theirs, self._registry.open_log(self._id))
        status = _own(theirs, self._registry.open_status(self._id))
        config = _own(theirs, _in_pipe(self._config()))
        descriptors = [listener, info, status, config]
        code = seccomp.program(os.uname().machine)
        rules = None
        if code is not None:
            rules = _own(theirs, _in_memory("seccomp", code))
            descriptors.append(rules)
        told = bwrap.Descriptors(info, status, rules)
        options = bwrap.isolation(told, rootfs.HOST_NAME, as_root=self._as_root)
        options += rootfs.environment({**prepared.agent.env, **prepared.spec.env})
        options += rootfs.mounts(self._layout(), exists=os.path.exists, read_link=rootfs.read_link)
        args = _own(theirs, _in_memory("args", bwrap.encode(options)))
        descriptors.append(args)
        argv = [bwrap.find().path, "--args", str(args), "--"]
        program = list(prepared.agent.python_argv)
        program += ["--listen-fd", str(listener), "--config-fd", str(config)]
        program = bwrap.inside(program, as_root=self._as_root)
        if self._as_root:
            namespace = ours.enter_context(user_namespace())
            argv = ["nsenter", f"--user=/proc/{os.getpid()}/fd/{namespace}", "--", *argv]
        members_files = prepared.group.members_files if prepared.group else ()
        return Command([*argv, *program], descriptors, log, members_files)

    def _config(self) -> bytes:
        spec = self._prepared.spec
        config = {
            "container_id": spec.container_id,
            "secret": spec.secret,
            "epoch": spec.epoch,
            "workspace": rootfs.WORKSPACE,
            "incarnation": self._prepared.incarnation,
        }
        return json.dumps(config).encode()

    def _layout(self) -> rootfs.Layout:
        quarter = self._prepared.spec.memory_bytes // 4  # what lies in /tmp counts as memory
        return rootfs.Layout(
            workspace=str(self._prepared.workspace),
            etc=str(self._prepared.etc),
            read_only=self._prepared.agent.ro_binds,
            tmp_bytes=min(quarter, _MOST_MEMORY_OF_TMP),
            shm_bytes=min(quarter, _MOST_MEMORY_OF_SHM),
        )

    def _limit_processes(self, agent: ProcessIdentity) -> None:
        """Without a control group that counts processes, limit what CODI's user may have.

        Counted within the container's user namespace since Linux 5.14.
        """
        group = self._prepared.group
        if group is None or "pids" not in group.controllers:
            limit = (self._prepared.spec.pids, self._prepared.spec.pids)
            with contextlib.suppress(PermissionError, ProcessLookupError):
                resource.prlimit(agent.pid, resource.RLIMIT_NPROC, limit)


async def _first_process(info: int) -> ProcessIdentity:
    """Wait for bubblewrap to tell its child's pid. Raises Unavailable when it ends without."""
    os.set_blocking(info, False)
    told = b""
    while True:
        await identity.wait_readable(info)
        part = os.read(info, 4096)
        told += part
        with contextlib.suppress(ValueError, KeyError):
            found = identity.identify(int(json.loads(told)["child-pid"]))
            if found is None:
                raise Unavailable("the container", "it ended at once")
            return found
        if not part:
            raise Unavailable("bubblewrap", "it ended before it started the container")


async def _until_healthy(handle: ContainerHandle, init: ProcessIdentity) -> None:
    """Return when CODI answers. No polling: our connection waits in the socket until CODI takes it."""
    asking = asyncio.ensure_future(is_healthy(handle.address, handle.secret))
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
