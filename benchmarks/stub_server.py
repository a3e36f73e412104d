"""`coditect up` with containers that are files: what a server may have only to be measured."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from typing import Any

from rich.console import Console

from cluster.bringup.progress import Progress
from cluster.bringup.server import Server
from cluster.settings import RuntimeName, forget_secrets, load
from coditect.cli.server import API
from tests.support.server_process import ROOT, ServerProcess

CONDUCTOR = "benchmarks.stub_conductor"


class StubServer(ServerProcess):
    """A server whose containers cost nothing and serve nothing: the control plane alone."""

    def __init__(self, *, pool_size: int, **settings: Any) -> None:
        super().__init__(pool_size=pool_size, **settings)
        self._discard: socket.socket | None = None
        self.environment["PYTHONPATH"] = str(ROOT)
        self.environment["CODITECT_PORT"] = str(self.port)
        self.environment["CODITECT_DATA_DIR"] = str(self.data_dir)

    def launch(self) -> None:
        """Start it, beside one that takes connections to its containers and says nothing.

        They have the discard port. Were it closed, everybody who follows a workspace would try again and
        again, and that would be measured; who may not open it has a few percent more to count.
        """
        with contextlib.suppress(OSError):
            self._discard = socket.create_server(("127.0.0.1", 9), backlog=4096)
        super().launch()

    def stop(self, timeout_seconds: float = 60.0) -> int:
        """End both."""
        if self._discard is not None:
            self._discard.close()
        return super().stop(timeout_seconds)

    def command(self, *arguments: str) -> list[str]:
        """Return how to start it; everything else of it stands in the environment."""
        return [sys.executable, "-m", "benchmarks.stub_server"]


def main() -> None:
    """Start it with the environment's settings, and stay until SIGTERM."""
    settings = load({}).model_copy(update={"runtime": RuntimeName.STUB})
    forget_secrets(os.environ)
    progress = Progress(Console(soft_wrap=True))
    Server(settings, conductor=CONDUCTOR, api=API, progress=progress).run()


if __name__ == "__main__":
    main()
