"""Ray's ``Node`` as the head of one server. Imported once the environment is set: Ray reads it then."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from ray._private import services
from ray._private.node import Node
from ray._private.parameter import RayParams

from cluster.workers.owner import WorkerParent

DASHBOARD = Path(services.RAY_PATH, "dashboard", "dashboard.py")
ENDING = {signal.SIGTERM, signal.SIGHUP}


class HeadNode(Node):  # type: ignore[misc]
    """A head whose dashboard, ten processes and as many seconds, is started by itself later."""

    def __init__(self, parameters: RayParams, *, logs: Path, parent: WorkerParent | None) -> None:
        """Start GCS and raylet; ``logs`` is where logs last, ``parent`` that of the workers."""
        self._lasting_logs = logs
        self._parent = parent
        super().__init__(parameters, head=True, shutdown_at_exit=False, spawn_reaper=True)

    def _init_temp(self, *arguments: Any) -> None:
        """Have the logs where they last; all else of a session goes with the server."""
        super()._init_temp(*arguments)
        place = Path(self._logs_dir)
        shutil.rmtree(place)
        (self._lasting_logs / "old").mkdir(parents=True, exist_ok=True)
        place.symlink_to(self._lasting_logs)

    def start_gcs_server(self) -> None:
        """Start it deaf to what asks all processes of the server to end, as a group or a cgroup.

        This process calls it without a limit of time, and runs no handler of a signal meanwhile; so it
        must be the last to go, and goes with this process.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            super().start_gcs_server()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def start_raylet(self, *arguments: Any, **options: Any) -> None:
        """Start the parent of its workers as soon as its pid is known; it imports meanwhile."""
        super().start_raylet(*arguments, **options)
        if self._parent is not None:
            [raylet] = self.all_processes["raylet"]
            self._parent.start(raylet.process.pid)

    def start_api_server(self, **_: Any) -> None:
        """Do nothing yet."""

    def start_dashboard(self) -> None:
        """Start the dashboard and do not wait for it, as Ray does by asking the GCS again and again.

        If the GCS ended meanwhile, this process would wait for what it has to start itself.
        """
        out, err = self.get_log_file_names(
            "dashboard", unique=True, create_out=True, create_err=True
        )
        parameters = self._ray_params
        options = {
            "host": parameters.dashboard_host,
            "port": parameters.dashboard_port,
            "temp-dir": self.temp_dir,
            "log-dir": self._logs_dir,
            "session-dir": self._session_dir,
            "logging-rotate-bytes": self.max_bytes,
            "logging-rotate-backup-count": self.backup_count,
            "gcs-address": self.gcs_address,
            "cluster-id-hex": self.cluster_id.hex(),
            "node-ip-address": self._node_ip_address,
            "stdout-filepath": out,
            "stderr-filepath": err,
        }
        process = services.start_ray_process(
            [sys.executable, str(DASHBOARD), *(f"--{name}={options[name]}" for name in options)],
            "dashboard",
            fate_share=self.kernel_fate_share,
            stdout_file=DEVNULL,
            stderr_file=DEVNULL,
        )
        self.all_processes["dashboard"] = [process]
