"""Containers that are sandboxes of this machine, with CODI inside whatever image is asked for.

CODI is started as its image would start it: its settings are ``CODI_CONFIG`` and ``PORT`` in the
environment. Only its socket is opened from outside, since a sandbox has no network.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.records.containers import ContainerHandle, ContainerSpec
from cluster.codi.bundle import Bundle, bundle
from cluster.dev.cloud_run.programs.interface import Order, StartFailed
from cluster.http_exchange import exchange
from cluster.runtime.freezing import freeze, thaw
from cluster.runtime.processes import ProcessIdentity
from cluster.runtime.registry import Processes
from cluster.runtime.sandbox import SandboxRuntime
from cluster.runtime.threads import run_to_the_end

_START_SECONDS = 240.0
_TURN_SECONDS = 240.0
_STARTS_AT_ONCE = 4
_LARGEST_ANSWER = 1 << 20
_PIDS = 512

# Its settings are in the environment: what a sandbox gives it instead is closed unread.
_ENTRY = """\
import os, sys
argv = sys.argv[1:]
at = argv.index("--config-fd")
os.close(int(argv[at + 1]))
del argv[at:at + 2]
os.execv(argv[0], argv)
"""


@dataclass(frozen=True, slots=True)
class Image:
    """The workspace image: CODI with an entry of its own. It ends with CODI, as a container does."""

    codi: Bundle
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    lasts: bool = False

    @property
    def python_argv(self) -> Sequence[str]:
        """The command line."""
        command = self.codi.python_argv
        return [command[0], "-I", "-S", "-c", _ENTRY, *command, *self.args]

    @property
    def ro_binds(self) -> Sequence[str]:
        """Paths to show read-only."""
        return self.codi.ro_binds


class Sandboxes:
    """Starts containers below a directory, which only one emulator uses at a time."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._runtimes: dict[tuple[str, ...], SandboxRuntime] = {}

    async def start(self, order: Order) -> Sandbox:
        """Start a container, with an empty disk. Raises StartFailed with nothing left behind."""
        name = uuid.uuid4().hex
        spec = ContainerSpec(
            container_id=f"c-{name}",
            tenant_id="cloud-run",
            workspace_id=f"w-{name}",
            secret=name,  # CODI does not get this one
            image=order.image,
            cpu=order.cpu,
            memory_bytes=order.memory_bytes,
            pids=_PIDS,
            env=dict(order.env),
        )
        runtime = await asyncio.to_thread(self._runtime, tuple(order.args))
        try:
            async with runtime.turn(_TURN_SECONDS):
                return Sandbox(runtime, await runtime.launch(spec))
        except CoditectError as error:
            await runtime.delete_workspace(spec.workspace_id)
            raise StartFailed(str(error)) from error
        except asyncio.CancelledError:
            await runtime.delete_workspace(spec.workspace_id)
            raise

    async def close(self) -> None:
        """Stop whatever is left, of an emulator that was killed too."""
        runtime = await asyncio.to_thread(self._runtime, ())
        for handle in await runtime.list():
            await Sandbox(runtime, handle).stop(0)

    def _runtime(self, args: tuple[str, ...]) -> SandboxRuntime:
        """Return the runtime of containers with these arguments. Blocks the first time."""
        if args not in self._runtimes:
            self._runtimes[args] = SandboxRuntime(
                self._directory,
                "cloud-run",
                agent=Image(bundle(self._directory / "runtime" / "codi"), args),
                clock=self._clock,
                launch_timeout=_START_SECONDS,
                launches_at_once=_STARTS_AT_ONCE,
                answers=_answers,
            )
        return self._runtimes[args]


class Sandbox:
    """A running sandbox."""

    def __init__(self, runtime: SandboxRuntime, handle: ContainerHandle) -> None:
        self._runtime = runtime
        self._handle = handle
        self._stopped: list[ProcessIdentity] = []

    @property
    def address(self) -> str:
        """Where it answers."""
        return self._handle.address

    @property
    def handle(self) -> ContainerHandle:
        """What finds its processes."""
        return self._handle

    async def wait(self) -> str:
        """Return the reason when it has ended."""
        return await self._runtime.wait_exit(self._handle)

    async def stop(self, grace_seconds: float) -> None:
        """Send SIGTERM, kill it after the grace time, and remove its disk. Idempotent."""
        await self.thaw()
        await self._runtime.stop(self._handle, grace_seconds)
        await self._runtime.delete_workspace(self._handle.workspace_id)

    async def freeze(self) -> None:
        """Take its processors away; to the end, since what is stopped must be known to be let go on."""
        await run_to_the_end(self._freeze())

    async def _freeze(self) -> None:
        self._stopped += await asyncio.to_thread(freeze, Processes.of(self._handle))

    async def thaw(self) -> None:
        """Give them back."""
        stopped, self._stopped = self._stopped, []
        await asyncio.to_thread(thaw, Processes.of(self._handle), stopped)


async def _answers(address: str, secret: str) -> bool:
    """Return whether anything answers there at all: what it says is for the startup probe."""
    del secret
    await exchange(address, "GET", "/", [], largest=_LARGEST_ANSWER)
    return True
