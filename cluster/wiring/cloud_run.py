"""Makes the Cloud Run runtime by the settings. Imported only where they choose it."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.clock import SystemClock
from cluster.cloud_run_options import parse_places, parse_secrets
from cluster.runtime.cloud_run.client import CloudRunApi
from cluster.runtime.cloud_run.placement import Placement
from cluster.runtime.cloud_run.runtime import CloudRunRuntime, Limits
from cluster.runtime.cloud_run.service_spec import Rules
from cluster.settings import Settings, StoreName

LAUNCHES_AT_ONCE = 32


def make_cloud_run(
    settings: Settings, node_id: str, codi_arguments: Sequence[str]
) -> CloudRunRuntime:
    """Return the runtime; nothing is asked of Google yet."""
    return CloudRunRuntime(
        settings.data_dir,
        api=CloudRunApi(settings.cloud_run_shape, settings.cloud_run_endpoint),
        shape=settings.cloud_run_shape,
        rules=Rules(
            node_id=node_id,
            service_account=settings.cloud_run_service_account or "",
            network=settings.cloud_run_network or "",
            ingress=settings.cloud_run_ingress,
            timeout=settings.cloud_run_timeout,
            fdb_cluster=_cluster_name(settings),
            secrets=parse_secrets(settings.cloud_run_secrets),
            codi_arguments=codi_arguments,
        ),
        placement=Placement(
            parse_places(settings.cloud_run_places),
            limit=settings.cloud_run_services,
            writes=settings.cloud_run_writes,
        ),
        limits=Limits(
            launch_timeout=settings.launch_timeout,
            probe_timeout=settings.probe_timeout,
            launches_at_once=settings.launches_at_once or LAUNCHES_AT_ONCE,
            renew_seconds=settings.renew_seconds,
        ),
        clock=SystemClock(),
    )


def _cluster_name(settings: Settings) -> str:
    """Return the name of the store's cluster and nothing by which it can be reached."""
    if settings.store is StoreName.EMBEDDED or settings.store_fdb_cluster_file is None:
        return settings.store.value
    try:
        return settings.store_fdb_cluster_file.read_text().lstrip().split(":", 1)[0]
    except OSError:
        return settings.store.value
