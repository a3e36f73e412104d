"""Makes the runtime that the settings choose, with CODI as the agent in its containers."""

from __future__ import annotations

import logging
import os
import platform
from functools import cached_property
from pathlib import Path

from actors.core.ports.runtime import ContainerRuntime
from cluster.clock import SystemClock
from cluster.codi.bundle import Bundle, Limits, bundle
from cluster.egress import authority
from cluster.egress.mirrors import parse_variables
from cluster.id_range import IdRange
from cluster.runtime.disks.images import DiskLimits
from cluster.runtime.root.way_out import WayOut
from cluster.runtime.sandbox import SandboxRuntime
from cluster.runtime.stub import StubRuntime
from cluster.settings import RuntimeName, Settings
from cluster.wiring.egress_rules import mirrors

logger = logging.getLogger(__name__)


class LateBundle:
    """CODI, packed when a container is to be started: whoever only stops them needs none of its files."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        """Pack it below a directory, later."""
        self._directory = directory
        self._limits = limits

    @cached_property
    def _packed(self) -> Bundle:
        return bundle(self._directory, self._limits)

    @property
    def python_argv(self) -> list[str]:
        """The command line. Raises OSError."""
        return self._packed.python_argv

    @property
    def ro_binds(self) -> list[str]:
        """Paths to show read-only. Raises OSError."""
        return self._packed.ro_binds

    @property
    def env(self) -> dict[str, str]:
        """What is added to the environment."""
        return self._packed.env

    @property
    def lasts(self) -> bool:
        """True: killed, it is to be started again."""
        return self._packed.lasts


def make_runtime(settings: Settings, node_id: str) -> ContainerRuntime:
    """Return what starts a node's containers."""
    if settings.runtime is RuntimeName.STUB:
        return StubRuntime(settings.data_dir, node_id)
    if settings.runtime is RuntimeName.CLOUD_RUN:
        # Its libraries take half a second to import, and tens of megabytes.
        from cluster.wiring.cloud_run import make_cloud_run  # noqa: PLC0415

        return make_cloud_run(settings, node_id, codi_limits(settings).arguments())
    return SandboxRuntime(
        settings.data_dir,
        node_id,
        agent=LateBundle(settings.data_dir / "runtime" / "codi", codi_limits(settings)),
        clock=SystemClock(),
        host=settings.ray_address,
        launch_timeout=settings.launch_timeout,
        launches_at_once=settings.launches_at_once or 2 * (os.cpu_count() or 1),
        probe_timeout=settings.probe_timeout,
        user_ids=IdRange.parse(settings.container_user_ids),
        ptys=settings.container_ptys,
        disks=DiskLimits(settings.container_disk, settings.container_inodes, settings.disk_reserve)
        if settings.container_disk
        else None,
        way_out=way_out(settings),
    )


def codi_limits(settings: Settings) -> Limits:
    """Return the limits that CODI keeps to."""
    return Limits(
        max_terminals=settings.max_terminals,
        max_file=settings.max_file,
        exec_output=settings.exec_output,
        exec_timeout=settings.exec_timeout,
        excludes=tuple(filter(None, map(str.strip, settings.workspace_excludes.split(",")))),
    )


def way_out(settings: Settings) -> WayOut:
    """Return what programs in containers are told of their way out."""
    try:
        codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")
    except OSError:
        codename = "stable"
    certificate = _authority(settings) if settings.has_egress else ""
    return WayOut(mirrors(settings), parse_variables(settings.container_env), codename, certificate)


def _authority(settings: Settings) -> str:
    """Return the certificate of the node's authority; none when there cannot be one."""
    try:
        return authority.certificate(settings.data_dir, SystemClock().now())
    except OSError as error:
        logger.warning("no secret is added to requests by HTTPS: %s", error)
        return ""
