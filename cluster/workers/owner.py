"""Owns the warm parent: starts it for a raylet, again when it has ended, and ends it."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cluster.workers import launcher

logger = logging.getLogger(__name__)

PARENT = "cluster.workers.parent"
REFUSED = 3
"""Its exit code when its forks would be no good, and those of another no better."""

WORKER = "worker.py"
EARLY_MODULES = ("numpy", "opentelemetry.sdk.metrics", "requests")
"""What takes long of what Ray imports."""

RAY_MODULES = (
    "ray._private.runtime_env.setup_hook",
    "ray._private.workers.default_worker",
    "ray.serve._private.controller",
    "ray.serve._private.haproxy",
    "ray.serve._private.replica",
)
FIRST_JOB = "01000000"
"""The job of a new GCS's first driver, which is the conductor, and so of all actors that it and they make."""

BACKLOG = 1024
STEADY_SECONDS = 60.0
MAX_STARTS_IN_A_ROW = 5
ROOM_FOR_TITLES = "-" * 200


class WorkerParent:
    """The parent of one server's workers. All calls come from the main thread, with which it ends.

    ``directory`` is the server's own; a socket and two links are made in it. ``early`` modules, which import
    nothing of Ray, are imported before there is a raylet, ``modules`` before a fork. While there is no
    parent, or it refuses, a worker is a process by itself.
    """

    def __init__(
        self, directory: Path, log: Path, modules: Sequence[str], early: Sequence[str] = ()
    ) -> None:
        self._directory = directory
        self._log = log
        self._early = [*EARLY_MODULES, *early]
        self._modules = [*RAY_MODULES, *modules]
        self._raylet = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._starts = 0

    def prepare(self) -> str:
        """Make the links that are followed to a worker; return the one that the raylet has to start."""
        from ray._private.workers import default_worker  # noqa: PLC0415 - after the environment is set

        (self._directory / launcher.PLAIN_WORKER).symlink_to(default_worker.__file__)
        worker = self._directory / WORKER
        worker.symlink_to(launcher.__file__)
        return str(worker)

    def begin(self) -> None:
        """Start it, unless it runs: it imports what needs no Ray, and waits for ``serve``."""
        if self._process is not None:
            return
        self._started_at = time.monotonic()
        self._starts += 1
        try:
            self._process = self._launch()
        except OSError as error:
            logger.warning("the workers' parent does not start: %s", error)

    def serve(self, raylet: int) -> None:
        """Have it fork workers for the raylet with that pid, as soon as it has imported."""
        self.begin()
        self._raylet = raylet
        if self._process is not None:
            assert self._process.stdin is not None
            with (
                suppress(BrokenPipeError),
                self._process.stdin as stdin,
            ):  # its log says why it has ended
                stdin.write(b"%d\n" % raylet)

    def _launch(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log, self._listening() as listener:
            numbers = map(str, (os.getpid(), listener.fileno(), len(self._early)))
            words = [str(self._directory), *numbers, *self._early, *self._modules, ROOM_FOR_TITLES]
            return subprocess.Popen(
                [sys.executable, "-m", PARENT, *words],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=_environment(),
                pass_fds=[listener.fileno()], process_group=0,
            )  # fmt: skip

    def _listening(self) -> socket.socket:
        """Listen before there is a parent: launchers then wait for it instead of doing its work again."""
        path = self._directory / launcher.SOCKET
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
        return listener

    @property
    def pids(self) -> set[int]:
        """Its pid, until it was seen to have ended."""
        return set() if self._process is None else {self._process.pid}

    def watch(self) -> None:
        """Start it again if it has ended, unless it refuses or ends again and again."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        if time.monotonic() - self._started_at > STEADY_SECONDS:
            self._starts = 0
        if code == REFUSED or self._starts >= MAX_STARTS_IN_A_ROW:
            logger.warning("workers start by themselves from now on; see %s", self._log)
            self._process = None
            return
        logger.warning("the workers' parent has ended; starting it again")
        self._process = None
        self.serve(self._raylet)

    def stop(self) -> None:
        """End it; its forks end with the raylet. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    """Return what Ray gives to a worker of the first job, but for the raylet's pid, which is yet to come."""
    # Ray reads the first when it is imported; the other has a process's title leave the environment alone.
    environment = {**os.environ, "RAY_JOB_ID": FIRST_JOB, "SPT_NOENV": "1"}
    environment.pop("LD_PRELOAD", None)  # the raylet does not hand it on
    return environment
