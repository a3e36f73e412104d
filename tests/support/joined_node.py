"""`coditect join` in another network namespace: a node of a running server, with an address of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from cluster.bringup import leftovers
from cluster.layout import Layout
from cluster.membership import credentials
from tests.support.network import Wire
from tests.support.server_process import ROOT, ServerProcess

READY_SECONDS = 150.0


class JoinedNode:
    """A node of ``server``; its settings are the head's, but for what ``settings`` name."""

    def __init__(
        self, server: ServerProcess, wire: Wire, data_dir: Path, **settings: object
    ) -> None:
        self.data_dir = data_dir
        self.output = data_dir / "join.out"
        self._server = server
        self._wire = wire
        self._settings = settings
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def node_id(self) -> str:
        """Its id, once it has begun."""
        return Layout(self.data_dir).node_id()

    def start(self) -> Self:
        """Join, and return when its actors are there."""
        own = {f"CODITECT_{name.upper()}": str(value) for name, value in self._settings.items()}
        others = {n: v for n, v in os.environ.items() if not n.startswith("CODITECT_")}
        command = [
            *(sys.executable, "-m", "coditect.cli.main", "join"),
            f"{self._wire.here}:{self._server.environment['CODITECT_CLUSTER_PORT']}",
            *("--token-file", str(credentials.node_file(self._server.data_dir))),
            *("--data-dir", str(self.data_dir)),
        ]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self._wire.inside(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=others | own,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        while "Ctrl-C" not in self.tail():
            assert self.process.poll() is None, self.tail()
            assert time.monotonic() < deadline, self.tail()
            time.sleep(0.1)
        return self

    def tail(self) -> str:
        """Return the end of what it printed."""
        return self.output.read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """Kill all of it but its containers with -9, as the end of its machine's Ray would."""
        assert self.process is not None
        for identity in leftovers.find(self.data_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_seconds: float = 60.0) -> int:
        """End it with SIGTERM, if it runs, and return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_seconds)
