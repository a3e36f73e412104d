"""A real server in a process of its own, for tests and benchmarks: started, watched, killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from cluster.bringup import leftovers

ROOT = Path(__file__).resolve().parents[2]
ADMIN_EMAIL = "admin@example.com"
ADMIN_PASSWORD = "correct horse battery staple"


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on at this moment.

    Below those that the kernel gives out (ip_local_port_range), or some other process that starts
    meanwhile might be given it.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ServerProcess:
    """`coditect up` in the foreground, with a data directory of its own."""

    def __init__(
        self, data_dir: Path | None = None, *, pool_size: int = 2, **settings: Any
    ) -> None:
        self._own_dir = data_dir is None
        self.data_dir = data_dir or Path(tempfile.mkdtemp(prefix="coditect-test-"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = self.data_dir / "up.out"
        self.started_seconds = 0.0
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith("CODITECT_")
            },
            "CODITECT_ADMIN_EMAIL": ADMIN_EMAIL,
            "CODITECT_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "CODITECT_POOL_SIZE": str(pool_size),
            **{f"CODITECT_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> list[str]:
        """Return the argument list of a coditect command for this server."""
        return [sys.executable, "-m", "coditect.cli.main", *arguments]

    def start(self, timeout_seconds: float = 240.0) -> Self:
        """Start it and return when its health is good."""
        began = time.monotonic()
        self.launch()
        self.wait_healthy(timeout_seconds)
        self.started_seconds = time.monotonic() - began
        return self

    def launch(self) -> None:
        """Start it as the leader of a process group, and do not wait."""
        with self.output.open("wb") as output:  # "ready" must be the word of this start
            self.process = subprocess.Popen(
                self.command("up", "--port", str(self.port), "--data-dir", str(self.data_dir)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self.environment,
                start_new_session=True,
            )

    def wait_healthy(self, timeout_seconds: float) -> None:
        """Wait until the server reports that it is ready; its output is in the error when it is not."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"up ended with {self.process.returncode}:\n{self.tail()}")
            if "ready" in self.tail().lower() and self.is_healthy():
                return
            time.sleep(0.1)
        raise AssertionError(f"not ready within {timeout_seconds:g} s:\n{self.tail()}")

    def is_healthy(self) -> bool:
        """Ask the health page."""
        try:
            return httpx.get(f"{self.url}/api/admin/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def tail(self, count: int = 8000) -> str:
        """Return the end of what `up` printed."""
        return self.output.read_text(errors="replace")[-count:] if self.output.exists() else ""

    def containers(self) -> dict[str, int]:
        """Return the running containers, by the sandbox's own registry: id to first process's pid."""
        return self._registered("init")

    def agents(self) -> dict[str, int]:
        """Return the pids of the CODI of each running container; one that was killed has a successor."""
        found = {}
        for container_id, init in self.containers().items():
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(init).children():
                    if child.name() == "codi":
                        found[container_id] = child.pid
        return found

    def workspace(self, container_id: str) -> Path:
        """Return the directory in which a running container's workspace lies, be it as a disk."""
        [found] = [each for each in self._handles() if each["container_id"] == container_id]
        return self.data_dir / "workspaces" / str(found["workspace_id"])

    def addresses(self) -> dict[str, str]:
        """Return where the CODI of each container listens."""
        return {handle["container_id"]: handle["address"] for handle in self._handles()}

    def family(self) -> list[psutil.Process]:
        """Return all that descends from `up`, but for containers: as the kernel has it, not the server."""
        assert self.process is not None
        inside = set(self.containers().values())
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                parents = {process.pid, *(parent.pid for parent in process.parents())}
                if not inside & parents and "bwrap" not in process.name():
                    found.append(process)
        return found

    def _registered(self, what: str) -> dict[str, int]:
        found = {}
        for handle in self._handles():
            process = handle["data"].get(what)
            if process is not None and Path(f"/proc/{process['pid']}").exists():
                found[handle["container_id"]] = process["pid"]
        return found

    def _handles(self) -> Iterator[dict[str, Any]]:
        for path in (self.data_dir / "runtime" / "containers").glob("*.json"):
            try:
                yield json.loads(path.read_text())["handle"]
            except (FileNotFoundError, ValueError):
                continue

    def kill_all_but_containers(self) -> None:
        """Kill `up` and everything that it started with -9, as the end of its machine would."""
        assert self.process is not None
        # The tree of processes holds the containers as well.
        for identity in leftovers.find(self.data_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_seconds: float = 60.0) -> int:
        """End it with SIGTERM and return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *exc: object) -> None:
        self.stop()
        if self._own_dir and exc[0] is None:
            shutil.rmtree(self.data_dir, ignore_errors=True)
