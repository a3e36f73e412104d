"""Ray's ``Node`` as one of a server's. Imported once the environment is set: Ray reads it then."""

from __future__ import annotations

import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import psutil
from ray import _raylet
from ray._private import services
from ray._private.node import Node
from ray._private.parameter import RayParams

from cluster.workers.owner import WorkerParent

DASHBOARD = Path(services.RAY_PATH, "dashboard", "dashboard.py")
NOWHERE = -1
"""The port of what is off, as the agents say it: Ray's collection of metrics."""

AGENTS_NICENESS = 10
ENDING = {signal.SIGTERM, signal.SIGHUP}


class RayNode(Node):  # type: ignore[misc]
    """A node. A head's dashboard, ten processes and as many seconds, is started by itself later."""

    def __init__(
        self, parameters: RayParams, *, is_head: bool, logs: Path, parent: WorkerParent | None
    ) -> None:
        """Start the raylet, on a head the GCS too; ``logs``: where logs last, ``parent``: of the workers."""
        self._lasting_logs = logs
        self._parent = parent
        super().__init__(parameters, head=is_head, shutdown_at_exit=False, spawn_reaper=True)
        self._have_agents_give_way()

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
        """Start the raylet, for whom the parent of its workers has been waiting.

        The raylet waits for files in which its agents, which import for seconds, would say their ports.
        """
        parameters = self._ray_params
        for name, port in (
            (_raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME, parameters.dashboard_agent_listen_port),
            (_raylet.METRICS_AGENT_PORT_NAME, parameters.metrics_agent_port),
            (_raylet.METRICS_EXPORT_PORT_NAME, NOWHERE),
            (_raylet.RUNTIME_ENV_AGENT_PORT_NAME, parameters.runtime_env_agent_port),
        ):
            _raylet.persist_port(self._session_dir, self._node_id, name, port)
        super().start_raylet(*arguments, **options)
        if self._parent is not None:
            [raylet] = self.all_processes["raylet"]
            self._parent.serve(raylet.process.pid)

    def _have_agents_give_way(self) -> None:
        """Lower the priority of the raylet's agents, which import for seconds and serve the dashboard."""
        [raylet] = self.all_processes["raylet"]
        with suppress(psutil.NoSuchProcess):
            for agent in psutil.Process(raylet.process.pid).children():
                agent.nice(AGENTS_NICENESS)

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
