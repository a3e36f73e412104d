"""The environment for Ray and Serve, as a function of settings and paths; sets nothing.

Every address and path of Serve's HAProxy mode is set, since its defaults are shared between servers
and open to the network (Ray 2.60, ``serve/_private/constants.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cluster.layout import Layout
from cluster.settings import Settings

GCS_RECONNECT_SECONDS = 120
REPLICA_PORTS = 64
# HAProxy refuses to start when it cannot have two descriptors a connection, and some for itself.
_SPARE_DESCRIPTORS = 1000


@dataclass(frozen=True, slots=True)
class Ports:
    """Free ports that were found for this server."""

    gcs: int
    dashboard: int
    dashboard_agent: int
    metrics_agent: int
    runtime_env_agent: int
    metrics_export: int
    haproxy_metrics: int
    haproxy_stats: int
    fallback_http: int
    fallback_grpc: int
    replicas: int
    """The first of ``REPLICA_PORTS`` free ports in a row."""


def environment(
    settings: Settings, layout: Layout, ports: Ports, *, packages: Path, open_files: int
) -> dict[str, str]:
    """Return the variables that every process of the server gets.

    ``packages`` is the directory that holds the server's packages, ``open_files`` the limit of open
    files of a process.
    """
    return {
        "PYTHONPATH": str(packages),
        # A worker that has to compile what it imports takes three times as long to start.
        "PYTHONDONTWRITEBYTECODE": "",
        # numpy, which Serve imports, would have a thread a core, and a process with threads cannot be forked.
        "OPENBLAS_NUM_THREADS": "1",
        **_ray(settings, layout),
        **_serve(layout, ports, open_files),
        # uvicorn takes a client's address from the header that HAProxy, or a proxy in front of it,
        # sets; see `haproxy.py`.
        "FORWARDED_ALLOW_IPS": f"127.0.0.1,{settings.ray_address}",
    }


def connections(open_files: int) -> int:
    """Return how many connections HAProxy takes at once."""
    return max(500, min(20_000, int((open_files - _SPARE_DESCRIPTORS) / 2.5)))


def _ray(settings: Settings, layout: Layout) -> dict[str, str]:
    return {
        # "0" is Ray's word for a machine by itself: nothing of it then listens but on the loopback, and
        # 127.0.0.1 is not replaced by an address that the network can see.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if settings.ray_address == "127.0.0.1" else "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(layout.token_file),
        # The GCS forgets nothing when it is restarted; see `head.py`.
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": str(layout.gcs_dir),
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(GCS_RECONNECT_SECONDS),
        # Ray runs workers at 15, below everything else of the machine; here they are the server.
        "RAY_worker_niceness": "0",
        # A dead node is noticed within about 2 s instead of 18 s.
        "RAY_health_check_initial_delay_ms": "5000",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "6",
        "RAY_grpc_client_keepalive_time_ms": "1000",
        "RAY_grpc_client_keepalive_timeout_ms": "2000",
        # An idle worker costs less when it reports less.
        "RAY_task_events_report_interval_ms": "0",
        "RAY_event_stats": "0",
        "RAY_metrics_report_interval_ms": "30000",
        "RAY_enable_metrics_collection": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ROTATION_MAX_BYTES": str(16 << 20),
        "RAY_ROTATION_BACKUP_COUNT": "2",
        "RAY_BACKEND_LOG_LEVEL": "warning" if settings.log_level != "debug" else "debug",
        "RAY_DEDUP_LOGS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Pre-started workers would only compete with what is started on purpose.
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_memory_monitor_refresh_ms": "0",
    }


def _serve(layout: Layout, ports: Ports, open_files: int) -> dict[str, str]:
    directory = layout.ray_dir
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(layout.haproxy),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(directory / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(directory / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(directory),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(directory / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(directory / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.haproxy_metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.haproxy_stats),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.replicas),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.replicas + REPLICA_PORTS // 2),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(ports.replicas + REPLICA_PORTS // 2 + 1),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(ports.replicas + REPLICA_PORTS - 1),
        # In a thread of its own the application's output would pile up in front of a slow client.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.http.serve_headers.middlewares",
        # An old HAProxy keeps its sockets for a day after a change of replicas.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "86400",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "86400",
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "86400",
        "RAY_SERVE_HAPROXY_MAXCONN": str(connections(open_files)),
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
        # An HAProxy that has died is missed three times before it is started again: 30 s by default.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.5",
    }
