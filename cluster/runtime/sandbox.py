"""Containers of this machine: bubblewrap sandboxes with CODI inside.

Nothing but files and processes: any process of the node that has the data directory finds,
watches and stops every container, whoever launched it. See ``docs/design/sandbox.md``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from weakref import WeakValueDictionary

from actors.core.backoff import Backoff
from actors.core.errors.base import CoditectError, DeadlineExceeded
from actors.core.errors.requests import InvalidArgument
from actors.core.errors.sessions import LaunchFailed
from actors.core.ports.clock import Clock
from actors.core.records.containers import ContainerHandle, ContainerSpec, Health
from cluster.egress import doorway
from cluster.id_range import DEFAULT_RANGE, IdRange
from cluster.runtime import cgroups, pruning
from cluster.runtime import processes as identity
from cluster.runtime.cgroups import Cgroups, Limits
from cluster.runtime.disks.images import Ailment, DiskLimits, is_free
from cluster.runtime.disks.workspaces import Workspaces, check_id
from cluster.runtime.ending import end, reason
from cluster.runtime.health import is_healthy
from cluster.runtime.launching.launch import AgentProgram, Answers, Launch, Prepared
from cluster.runtime.launching.slots import LaunchSlots
from cluster.runtime.registry import Entry, Processes, Registry
from cluster.runtime.root import etc, view
from cluster.runtime.root.way_out import WayOut
from cluster.runtime.threads import in_thread, run_to_the_end

logger = logging.getLogger(__name__)

_MONITOR_SECONDS = 1.0
_RELEASE_SECONDS = 2.0
_CARE_SECONDS, _CARES_AT_ONCE = 250.0, 2
_SAME_MOMENT_SECONDS = 3.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class SandboxRuntime:
    """A ContainerRuntime on bubblewrap. Cheap to make; makes no file before the first launch.

    ``data_dir`` is the server's, ``host`` the address on which CODI is reached (a numeric address
    of this machine). Times are seconds. ``keep_dead_seconds`` is how long what is left of a dead
    container stays for its owner to ask why it died, before ``list`` sweeps it up. ``user_ids`` are those
    of containers outside, each its own, if root runs the server; ``ptys`` are the pseudo-terminals that a
    container may open; ``disks`` is what a workspace may hold, where root can see to it. ``way_out`` is
    what programs are told of theirs, where a container has one. ``answers`` asks an address, with the
    secret, whether the agent is well.
    """

    name = "sandbox"
    keeps_workspaces = True

    def __init__(
        self,
        data_dir: Path,
        node_id: str,
        *,
        agent: AgentProgram,
        clock: Clock,
        host: str = "127.0.0.1",
        launch_timeout: float = 20.0,
        launches_at_once: int = 4,
        probe_timeout: float = 2.0,
        keep_dead_seconds: float = 60.0,
        user_ids: IdRange = DEFAULT_RANGE,
        ptys: int = 64,
        disks: DiskLimits | None = None,
        way_out: WayOut | None = None,
        answers: Answers = is_healthy,
    ) -> None:
        data_dir = data_dir.resolve()
        self._data_dir = data_dir
        self._way_out = way_out or WayOut()
        self._answers = answers
        self._runtime_dir = data_dir / "runtime"
        self._registry = Registry.of(data_dir)
        self._turns = LaunchSlots(self._runtime_dir / "turns", launches_at_once, clock)
        owners = user_ids.ids if os.geteuid() == 0 else ()
        self._care = LaunchSlots(self._runtime_dir / "care", _CARES_AT_ONCE, clock)
        self._workspaces = Workspaces(data_dir / "workspaces", data_dir / "trash", owners, disks)
        self._user_ids = user_ids
        self._ptys = ptys
        self._group_name = group_name(data_dir)
        self._node_id = node_id
        self._agent = agent
        self._clock = clock
        self._host = host
        self._launch_timeout = launch_timeout
        self._probe_timeout = probe_timeout
        self._keep_dead_seconds = keep_dead_seconds
        self._cgroups: Cgroups | None = None
        self._preparing = threading.Lock()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, limit_seconds: float) -> AbstractAsyncContextManager[None]:
        """Hold a turn to launch, of those that all processes of the node share."""
        return self._turns.turn(limit_seconds)

    async def prepare(self, workspace_id: str) -> None:
        """See to a workspace's disk before a launch, in a turn of its own. Most often there is nothing to do.

        Raises DeadlineExceeded; LaunchFailed when it is damaged and cannot be repaired.
        """
        ailment = await in_thread(self._workspaces.ailment, workspace_id)
        if ailment is None:
            return
        try:
            # Who is damaged waits for a turn; all else is for when there is one.
            patience = _CARE_SECONDS if ailment is Ailment.DAMAGED else 0
            async with self._care.turn(patience):
                await in_thread(
                    self._workspaces.care, workspace_id, partial(self._is_held, workspace_id)
                )
        except DeadlineExceeded:
            if ailment is Ailment.DAMAGED:
                raise
        except OSError as error:
            raise LaunchFailed(workspace_id, f"its disk cannot be repaired: {error}") from error

    async def launch(self, spec: ContainerSpec) -> ContainerHandle:
        """Start a container and return when CODI answers. Idempotent by the container's id.

        ``spec.image`` has no meaning here. Raises InvalidArgument; LaunchFailed with nothing left
        behind but the workspace directory.
        """
        check_id("container_id", spec.container_id)
        check_id("workspace_id", spec.workspace_id)
        if spec.egress not in ("none", "gateway"):
            raise InvalidArgument("egress", "none, or by the gateway")
        async with self._locks.setdefault(spec.container_id, asyncio.Lock()):
            running = await self._settle_former(spec)
            return running or await self._launch(spec)

    async def _settle_former(self, spec: ContainerSpec) -> ContainerHandle | None:
        """Return the container if it runs already; remove what an attempt that died has left."""
        entry = self._registry.read(spec.container_id)
        if entry is None:
            return None
        handle = self._complete(entry)
        if entry.ready and _is_running(handle) and entry.handle.secret == spec.secret:
            return handle
        if not entry.ready and entry.launcher != _myself() and identity.is_alive(entry.launcher):
            raise LaunchFailed(spec.container_id, f"process {entry.launcher.pid} is launching it")
        await self._end(handle, 0)
        return None

    async def _launch(self, spec: ContainerSpec) -> ContainerHandle:
        attempt: Launch | None = None
        try:
            async with asyncio.timeout(self._launch_timeout):
                await self._vacate(spec)
                attempt = Launch(await self._prepare(spec), self._registry)
                return await attempt.run()
        except BaseException as error:
            words = self._registry.last_words(spec.container_id)
            processes = attempt.processes if attempt else Processes()
            handle = _handle_of(spec, self._node_id, processes)
            await run_to_the_end(self._end(handle, 0))
            if isinstance(error, TimeoutError):
                error = TimeoutError(f"no answer from CODI within {self._launch_timeout:g} s")
            if isinstance(error, (OSError, CoditectError)):
                reason_ = f"{error} ({words})" if words else str(error)
                raise LaunchFailed(spec.container_id, reason_) from error
            raise

    async def _vacate(self, spec: ContainerSpec) -> None:
        """End every other container on the workspace: one that nobody reaches may still write to it.

        Raises DeadlineExceeded when the kernel does not let go of one. Here and not with the caller,
        who may not be the one that started it, nor know of it.
        """
        for handle in await in_thread(self._on_workspace, spec):
            logger.warning(
                "container %s is in the way of %s", handle.container_id, spec.container_id
            )
            await self.stop(handle, 0)

    def _is_held(self, workspace_id: str) -> bool:
        """Return whether a workspace has a container, or somebody is about to start one."""
        return any(
            _is_running(self._complete(entry))
            or (not entry.ready and identity.is_alive(entry.launcher))
            for entry in self._registry.on_workspace(workspace_id)
        )

    def _on_workspace(self, spec: ContainerSpec) -> list[ContainerHandle]:
        if not self._workspaces.path(spec.workspace_id).exists():
            return []
        found = []
        for entry in self._registry.on_workspace(spec.workspace_id):
            handle = self._complete(entry)
            other = handle.container_id != spec.container_id
            # One that has ended keeps its files: its owner may yet ask why.
            if other and (_is_running(handle) or not entry.ready):
                found.append(handle)
        return found

    async def _prepare(self, spec: ContainerSpec) -> Prepared:
        etc_dir, view_dir, workspace, groups = await in_thread(self._prepare_files, spec)
        has_egress = spec.egress != "none"
        return Prepared(
            spec=spec,
            node_id=self._node_id,
            host=self._host,
            workspace=workspace,
            incarnation=self._workspaces.incarnation(spec.workspace_id),
            etc=etc_dir,
            view=view_dir,
            group=groups.create(spec.container_id, Limits(spec.cpu, spec.memory_bytes, spec.pids)),
            agent=self._agent,
            launcher=_myself(),
            now=self._clock.now(),
            user_ids=self._user_ids,
            ptys=self._ptys,
            open_workspace=partial(self._workspaces.open, spec.workspace_id),
            has_disk=lambda: self._workspaces.disk(spec.workspace_id) is not None,
            holders=self._workspaces.holders,
            answers=self._answers,
            egress=doorway.directory(self._data_dir, spec.container_id) if has_egress else None,
            variables=self._way_out.variables() if has_egress else {},
        )

    def _prepare_files(self, spec: ContainerSpec) -> tuple[Path, Path, Path, Cgroups]:
        """Make what is made once, and the workspace. Blocks: the first time for tenths of a second."""
        with self._preparing:
            self._registry.prepare()
            if self._cgroups is None:
                self._cgroups = Cgroups.detect(self._group_name)
            if spec.egress != "none":
                doorway.make(self._data_dir, spec.container_id)
            if spec.egress != "none":
                files, authority = self._way_out.files(), self._way_out.authority
                etc_dir = etc.prepare(self._runtime_dir, more=files, authority=authority)
            else:
                etc_dir = etc.prepare(self._runtime_dir)
            view_dir = view.prepare(self._runtime_dir, spec.cpu, spec.memory_bytes)
        pruning.touch((etc_dir, view_dir), self._clock.now())
        return etc_dir, view_dir, self._workspaces.ensure(spec.workspace_id), self._cgroups

    async def probe(self, handle: ContainerHandle) -> Health:
        """Return its health: DEAD when its first process is gone, UNHEALTHY when CODI does not answer."""
        if not _is_running(handle):
            return Health.DEAD
        self._registry.bound_log(handle.container_id)
        try:
            async with asyncio.timeout(self._probe_timeout):
                healthy = await self._answers(handle.address, handle.secret)
        except (OSError, TimeoutError):
            healthy = False
        if healthy:
            return Health.HEALTHY
        return Health.UNHEALTHY if _is_running(handle) else Health.DEAD

    async def wait_exit(self, handle: ContainerHandle) -> str:
        """Return the reason when the container has ended, at once if it already has."""
        processes = Processes.of(handle)
        if processes.init is not None:
            await identity.wait_end(processes.init)
        if processes.monitor is not None:  # it writes the exit code down when the child has ended
            await identity.ends_within(processes.monitor, _MONITOR_SECONDS)
        status = self._registry.status(handle.container_id)
        words = self._registry.last_words(handle.container_id)
        oom = processes.group is not None and cgroups.out_of_memory(processes.group)
        return reason(status, words, out_of_memory=oom)

    async def stop(self, handle: ContainerHandle, grace_seconds: float) -> None:
        """Ask it to end, kill it after the grace time, remove what it held. Idempotent.

        Raises DeadlineExceeded when the kernel does not let go of a process.
        """
        async with self._locks.setdefault(handle.container_id, asyncio.Lock()):
            await self._end(handle, grace_seconds)
        await in_thread(self._prune)

    async def list(self) -> Sequence[ContainerHandle]:
        """Return every container of this data directory that is running, known or not.

        Also those that are being launched, and those whose launch was cut short. What is left of
        containers that ended long ago is removed on the way.
        """
        running = []
        for container_id in self._registry.ids():
            entry = self._registry.read(container_id)
            if entry is None:
                continue
            handle = self._complete(entry)
            if _is_running(handle):
                running.append(handle)
            elif self._is_stale(entry):
                await self._end(handle, 0, patience=0)
        await in_thread(self._prune)
        return running

    def _prune(self) -> None:
        """Remove what ended containers shared; what this server starts its agents from stays."""

        def running() -> Iterator[int]:
            for entry in filter(None, map(self._registry.read, self._registry.ids())):
                init = Processes.of(self._complete(entry)).init
                if init is not None and identity.is_alive(init):
                    yield init.pid

        places = (self._runtime_dir, self._runtime_dir / "codi")
        try:
            kept = [Path(path) for path in self._agent.ro_binds]
        except OSError:
            return  # the package was replaced under this server, which starts no agents any more
        pruning.prune(places, running, self._clock.now(), kept)

    async def delete_workspace(self, workspace_id: str) -> None:
        """Remove a workspace directory whose session has ended. Idempotent."""
        await self._workspaces.delete(workspace_id)

    def workspace_path(self, workspace_id: str) -> Path:
        """Return where a workspace lies on this machine."""
        return self._workspaces.path(workspace_id)

    async def stats(self, handle: ContainerHandle) -> dict[str, float]:
        """Return ``cpu_seconds`` (since its start), ``memory_bytes`` and ``pids`` (both now).

        From its control group; what no group counts is added up over its processes.
        """
        processes = Processes.of(handle)
        found = cgroups.usage(processes.group) if processes.group else {}
        if len(found) < 3 and processes.init is not None and identity.is_alive(processes.init):
            stats = identity.descendants(processes.init.pid).values()
            counted = {
                "cpu_seconds": sum(stat.cpu_ticks for stat in stats) / _TICKS,
                "memory_bytes": float(sum(stat.resident_pages for stat in stats) * _PAGE),
                "pids": float(len(stats)),
            }
            found = counted | found
        return found

    def _complete(self, entry: Entry) -> ContainerHandle:
        """Return the handle with the first process, also when its launcher died before noting it.

        bubblewrap's own file has the pid then; the process is ours if it is as old as that file.
        """
        processes = Processes.of(entry.handle)
        status = self._registry.status(entry.handle.container_id)
        same_boot = entry.launcher.boot_id == identity.boot_id()
        if processes.init is None and status.child_pid and status.written_at and same_boot:
            found = identity.identify(status.child_pid)
            file_age = self._clock.now() - status.written_at
            if found and abs(identity.age_seconds(found) - file_age) < _SAME_MOMENT_SECONDS:
                agent = identity.identify(next(iter(identity.children(found.pid)), 0))
                processes = processes.model_copy(update={"init": found, "agent": agent})
        return entry.handle.model_copy(update={"data": processes.model_dump(mode="json")})

    def _is_stale(self, entry: Entry) -> bool:
        """Return whether what is left of a dead container may be swept up."""
        if not entry.ready and identity.is_alive(entry.launcher):
            return False
        ended_at = self._registry.status(entry.handle.container_id).written_at or entry.started_at
        return self._clock.now() - ended_at > self._keep_dead_seconds

    async def _end(
        self, handle: ContainerHandle, grace_seconds: float, patience: float | None = None
    ) -> None:
        """End a container; what is known of it goes when nothing of it is left, its user id with it."""
        await end(Processes.of(handle), grace_seconds)
        self._registry.remove_words(handle.container_id)
        backoff, left = Backoff(0.002, 0.1), _RELEASE_SECONDS if patience is None else patience
        while not await in_thread(self._is_released, handle):
            if left <= 0:
                logger.warning("the disk of %s is still held", handle.container_id)
                return  # ``list`` comes back to it
            pause = backoff.next()
            await asyncio.sleep(pause)
            left -= pause
        await in_thread(doorway.remove, self._data_dir, handle.container_id)
        self._registry.remove(handle.container_id)

    def _is_released(self, handle: ContainerHandle) -> bool:
        """Return whether an ended container has let go of its disk, or somebody else has it by now."""
        if Processes.of(handle).user_id is None:
            return True
        image = self._workspaces.disk(handle.workspace_id)
        if image is None or is_free(image):
            return True
        others = self._registry.on_workspace(handle.workspace_id)
        return any(entry.handle.container_id != handle.container_id for entry in others)


def group_name(data_dir: Path) -> str:
    """Return the name of the control group that holds the containers of a data directory."""
    return f"coditect-{blake2b(os.fsencode(data_dir.resolve()), digest_size=6).hexdigest()}"


def _handle_of(spec: ContainerSpec, node_id: str, processes: Processes) -> ContainerHandle:
    """Return the handle of a container that did not come up."""
    return ContainerHandle(
        container_id=spec.container_id,
        tenant_id=spec.tenant_id,
        node_id=node_id,
        workspace_id=spec.workspace_id,
        runtime=SandboxRuntime.name,
        address="",
        secret=spec.secret,
        data=processes.model_dump(mode="json"),
    )


def _is_running(handle: ContainerHandle) -> bool:
    init = Processes.of(handle).init
    return init is not None and identity.is_alive(init)


def _myself() -> identity.ProcessIdentity:
    found = identity.identify(os.getpid())
    assert found is not None, "this process runs"
    return found
