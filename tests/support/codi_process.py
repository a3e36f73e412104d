"""A real CODI, run as a plain process on an inherited socket with a workspace of its own."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from actors.core.records.containers import ContainerHandle
from actors.core.records.sessions import Route
from cluster.codi.answers import Asked
from cluster.codi.bundle import Limits, bundle
from cluster.codi.control import CodiControl

SECRET = "s3cret-of-this-container"
SESSION = "s-1"


staged = functools.cache(bundle)
"""Stages CODI as ``bundle`` does, whose files no test changes, and looks at them once."""


@dataclass
class Codi:
    """The agent's address and credentials."""

    process: subprocess.Popen
    workspace: Path
    address: str
    log: Path
    epoch: int = 1

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def headers(self) -> dict[str, str]:
        return {
            "x-codi-secret": SECRET,
            "x-codi-session": SESSION,
            "x-codi-epoch": str(self.epoch),
        }

    def route(self, epoch: int | None = None, secret: str = SECRET) -> Route:
        return Route(
            session_id=SESSION,
            container_id="c-1",
            epoch=self.epoch if epoch is None else epoch,
            address=self.address,
            secret=secret,
        )

    def handle(self) -> ContainerHandle:
        return ContainerHandle(
            container_id="c-1",
            tenant_id="t",
            node_id="n",
            workspace_id="w",
            runtime="process",
            address=self.address,
            secret=SECRET,
        )


def without_capabilities() -> list[str]:
    """Return what a command begins with so that it has none, as in a sandbox: permissions count then."""
    return ["setpriv", "--bounding-set", "-all"] if os.geteuid() == 0 else []


@contextlib.contextmanager
def run_codi(
    directory: Path, stage: Path, limits: Limits | None = None, *, incarnation: str = ""
) -> Iterator[Codi]:
    """Start it below ``directory``; end it and everything that it started."""
    workspace = directory / "workspace"
    workspace.mkdir(exist_ok=True)
    program = staged(stage, limits)
    config = {"container_id": "c-1", "secret": SECRET, "epoch": 1, "workspace": str(workspace)}
    config["incarnation"] = incarnation
    log = directory / "codi.log"
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        reading, writing = os.pipe()
        os.write(writing, json.dumps(config).encode())
        os.close(writing)
        environment = {"HOME": str(workspace), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        process = subprocess.Popen(
            [
                *without_capabilities(),
                *program.python_argv,
                "--listen-fd",
                str(listener.fileno()),
                "--config-fd",
                str(reading),
            ],
            pass_fds=(listener.fileno(), reading),
            env=environment | program.env,
            stderr=output,
            cwd=workspace,
        )
        os.close(reading)
        host, port = listener.getsockname()
    try:
        yield Codi(process, workspace, f"{host}:{port}", log)
    finally:
        # In a container they end with its namespace. Orphans are CODI's children, so all are below it.
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            for each in below:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait(10)


async def health_of(handle: ContainerHandle) -> dict[str, Any]:
    """Return what ``GET /health`` answers. Raises Unavailable."""
    asked = Asked(Route.to(handle, "", 0))
    answer: dict[str, Any] = (await CodiControl()._call(asked, "GET", "/health"))[1]
    return answer
