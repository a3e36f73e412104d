"""The Ray head of one server: its own GCS, dashboard and raylet, on ports and paths of its own.

Ray's ``Node`` starts the daemons as children of this process, bound to its life by
``PR_SET_PDEATHSIG`` (prctl(2)): whatever ends this process ends them. Nothing in Ray restarts a GCS
that has died, so this does: the same command on the same port and the same RocksDB directory, while
the raylet and all workers wait (``RAY_gcs_rpc_server_reconnect_timeout_s``).

The GCS directory is emptied at every start of the server: what lasts is in the server's own store,
and a fresh GCS cannot bring back actors that nobody wants.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import socket
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import fields
from typing import Any

from actors.core.errors.base import Unavailable
from cluster.bringup.environment import REPLICA_PORTS, Ports
from cluster.layout import Layout
from cluster.settings import RAY_PORTS, Settings
from cluster.workers.owner import WorkerParent

logger = logging.getLogger(__name__)

MAX_GCS_RESTARTS_IN_A_ROW = 10


def free_ports(address: str, *, others: Collection[int] = ()) -> Ports:
    """Return ports that are free at this moment, all different, and none of them one of ``others``.

    Below those that the kernel gives out (ip_local_port_range): one of these might be some connection's
    when a daemon or HAProxy is started again.
    """
    with ExitStack() as stack:
        names = [field.name for field in fields(Ports) if field.name != "replicas"]
        single = {name: _take_port(stack, address, others) for name in names}
    return Ports(**single, replicas=_free_row())


def _take_port(stack: ExitStack, address: str, others: Collection[int]) -> int:
    """Hold a free port above the rows of ``_free_row`` until the stack is closed."""
    for _ in range(1000):
        port = random.choice(RAY_PORTS)  # noqa: S311 - to part two servers
        # At the node's address for its daemons, at the loopback's for HAProxy.
        try:
            for each in {address, "127.0.0.1"}:
                stack.enter_context(socket.socket()).bind((each, port))
        except OSError:
            continue
        if port not in others:
            return port
    raise Unavailable("ports", "none is free between 30100 and 32700")


def _free_row() -> int:
    """Return the first of ``REPLICA_PORTS`` free ports in a row, below those given out by the kernel."""
    for _ in range(200):
        first = random.randrange(10_000, 30_000, REPLICA_PORTS)  # noqa: S311 - to part two servers
        try:
            with ExitStack() as stack:
                for port in range(first, first + REPLICA_PORTS):
                    stack.enter_context(socket.socket()).bind(("", port))
        except OSError:
            continue
        return first
    raise Unavailable("ports", f"no {REPLICA_PORTS} free ports in a row between 10000 and 30000")


class RayHead:
    """Starts, watches and ends the head's daemons. All calls come from the main thread.

    The main thread, because ``PR_SET_PDEATHSIG`` fires when the *thread* that forked ends.
    """

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        ports: Ports,
        workers: Sequence[str],
        early: Sequence[str] = (),
    ) -> None:
        """``workers`` names the modules that actors and replicas import, ``early`` those without Ray."""
        self._settings = settings
        self._layout = layout
        self._ports = ports
        self._node: Any = None
        self._gcs_restarts = 0
        self._parent: WorkerParent | None = None
        if settings.forked_workers:
            log = layout.log_dir / "workers.log"
            self._parent = WorkerParent(layout.ray_dir, log, workers, early)

    def prepare(self) -> None:
        """Start what imports before there is a head: the parent of its workers."""
        if self._parent is not None:
            self._parent.begin()

    @property
    def address(self) -> str:
        """The GCS address that a driver connects to."""
        return f"{self._settings.ray_address}:{self._ports.gcs}"

    @property
    def dashboard_url(self) -> str:
        """The dashboard's address; empty when it is off."""
        settings = self._settings
        return (
            f"http://{settings.ray_address}:{self._ports.dashboard}" if settings.dashboard else ""
        )

    def start(self) -> None:
        """Start GCS and raylet; some seconds. Raises Unavailable."""
        shutil.rmtree(self._layout.gcs_dir, ignore_errors=True)
        self._layout.gcs_dir.mkdir(mode=0o700)
        self._start(
            is_head=True,
            gcs_server_port=self._ports.gcs,
            include_dashboard=False,
            dashboard_host=self._settings.ray_address,
            dashboard_port=self._ports.dashboard,
            no_monitor=True,
        )

    def _start(self, *, is_head: bool, **options: Any) -> None:
        from ray._private.parameter import RayParams  # noqa: PLC0415 - after the environment is set

        from cluster.bringup.head_node import RayNode  # noqa: PLC0415 - as well

        ports, settings, parent = self._ports, self._settings, self._parent
        parameters = RayParams(
            node_ip_address=settings.ray_address,
            temp_dir=str(self._layout.ray_dir / "ray"),
            object_store_memory=settings.object_store_memory,
            dashboard_agent_listen_port=ports.dashboard_agent,
            metrics_agent_port=ports.metrics_agent,
            runtime_env_agent_port=ports.runtime_env_agent,
            metrics_export_port=ports.metrics_export,
            include_log_monitor=False,
            # Actors ask for no processors here; the count only bounds Ray's own tasks.
            num_cpus=max(8, os.cpu_count() or 1),
            num_gpus=0,
            worker_path=None if parent is None else parent.prepare(),
            **options,
        )
        try:
            self._node = RayNode(
                parameters, is_head=is_head, logs=self._layout.ray_log_dir, parent=parent
            )
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise Unavailable("ray", reason[0] if reason else type(error).__name__) from error

    def start_dashboard(self) -> None:
        """Start the dashboard if it is wanted; it takes some seconds. The server goes on without it."""
        if self._settings.dashboard:
            try:
                self._node.start_dashboard()
            except Exception as error:  # noqa: BLE001 - Ray raises what it likes; nothing depends on it
                logger.warning("the Ray dashboard did not start: %s", error)

    def pids(self) -> set[int]:
        """Return the processes that are collected here, or by Ray's ``Node``, when they end."""
        started = self._node.all_processes.values()
        pids = {info.process.pid for processes in started for info in processes}
        return pids if self._parent is None else pids | self._parent.pids

    def watch(self) -> None:
        """Start the GCS again if it has died. Raises Unavailable when the node cannot go on."""
        dead = {kind for kind, _ in self._node.dead_processes()}
        if "raylet" in dead:
            raise Unavailable("ray", f"the raylet has ended; see {self._layout.ray_dir}/ray")
        if "gcs_server" in dead:
            self._restart_gcs()
        else:
            self._gcs_restarts = 0
        if "dashboard" in dead:
            logger.warning("the Ray dashboard has ended; the server goes on without it")
            del self._node.all_processes["dashboard"]
        if self._parent is not None:
            self._parent.watch()

    def _restart_gcs(self) -> None:
        self._gcs_restarts += 1
        if self._gcs_restarts > MAX_GCS_RESTARTS_IN_A_ROW:
            raise Unavailable("ray", "the GCS ends again and again")
        logger.warning("the GCS has ended; starting it again")
        del self._node.all_processes["gcs_server"]
        self._node._gcs_address = None  # noqa: SLF001 - Node has no public restart of the GCS
        self._node._gcs_client = None  # noqa: SLF001
        self._node.start_gcs_server()

    def stop(self) -> None:
        """End the daemons, and with the raylet every worker. Idempotent."""
        if self._parent is not None:
            self._parent.stop()
        if self._node is not None:
            self._node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
            self._node = None


class RayMember(RayHead):
    """The daemons of a node that has joined a head, whose GCS is at ``gcs_address``."""

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        ports: Ports,
        workers: Sequence[str],
        *,
        gcs_address: str,
    ) -> None:
        super().__init__(settings, layout, ports, workers)
        self._gcs_address = gcs_address

    @property
    def address(self) -> str:
        """The head's GCS."""
        return self._gcs_address

    @property
    def ray_node_id(self) -> str:
        """Ray's id of this node, once it has been started."""
        return str(self._node.node_id)

    def start(self) -> None:
        """Start the raylet; some seconds. Raises Unavailable."""
        self._start(is_head=False, gcs_address=self._gcs_address)

    def start_dashboard(self) -> None:
        """Do nothing: the head has it."""
