"""Launch a container in a process of its own, print its handle, and wait to be killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cluster.clock import SystemClock
from cluster.runtime import sandbox
from cluster.runtime.launching import launch
from cluster.runtime.sandbox import SandboxRuntime
from tests.fakes.agent import FakeAgent
from tests.isolation.inside import spec


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def never(*_):
    say("at the gate")
    await asyncio.Event().wait()


class Forgetful(launch.Launch):
    async def _start(self, *arguments):
        await super()._start(*arguments)
        say("half-way")
        await asyncio.Event().wait()


async def main(data_dir: str, how: str) -> None:
    if how == "half-way":  # it runs, and its first process is never noted
        sandbox.Launch = Forgetful
    if how == "at the gate":  # bubblewrap runs, and the container is never furnished
        launch._first_process = never
    runtime = SandboxRuntime(Path(data_dir), "node-1", agent=FakeAgent(), clock=SystemClock())
    handle = await runtime.launch(spec())
    say(handle.model_dump_json())
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
