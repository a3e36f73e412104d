"""Writes the definition of a container for Cloud Run: a service of its own, or an instance. Pure.

What is written are plain documents in the words of ``google.cloud.run.v2``. Nothing secret stands in
them: of CODI's secret only its digest, and what an operator wants in containers by its name in Secret
Manager.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.core.records.containers import ContainerSpec
from cluster.cloud_run_options import LONGEST_TIMEOUT, Ingress, SecretReference
from cluster.runtime.cloud_run import names

PORT = 8080
_STARTUP_PERIOD, _STARTUP_FAILURES, _PROBE_SECONDS = 1, 240, 1
_CONCURRENCY = 1000
NETWORK_TAG = "coditect-workspace"
_MIB = 1 << 20

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What all containers of a server have in common. ``fdb_cluster`` names the store's cluster.

    ``network`` is the VPC network, and maybe ``/`` and its subnetwork, into which all their traffic goes.
    """

    node_id: str
    service_account: str
    network: str
    ingress: Ingress = Ingress.ALL
    timeout: int = LONGEST_TIMEOUT
    fdb_cluster: str = ""
    command: Sequence[str] = ()
    secrets: Sequence[SecretReference] = field(default=())
    codi_arguments: Sequence[str] = ()


def service(spec: ContainerSpec, rules: Rules) -> Document:
    """Return a service of one instance at most; a warm one, which is no user's, of one at least."""
    return {
        **_common(spec, rules),
        "template": {
            "labels": labels(spec, rules),
            "scaling": {"min_instance_count": int(spec.user_id is None), "max_instance_count": 1},
            "execution_environment": "EXECUTION_ENVIRONMENT_GEN2",
            "service_account": rules.service_account,
            "timeout": {"seconds": rules.timeout},
            "max_instance_request_concurrency": _CONCURRENCY,
            "vpc_access": _vpc_access(rules),
            "containers": [_container(spec, rules, scales=True)],
        },
    }


def instance(spec: ContainerSpec, rules: Rules) -> Document:
    """Return an instance: one container that is started and stopped, and no revisions."""
    return {
        **_common(spec, rules),
        "service_account": rules.service_account,
        "vpc_access": _vpc_access(rules),
        "containers": [_container(spec, rules, scales=False)],
    }


def labels(spec: ContainerSpec, rules: Rules) -> dict[str, str]:
    """Return the labels by which a node finds its containers, whatever it has forgotten."""
    return {
        names.MANAGED_BY: names.OWNER,
        names.NODE: names.label(rules.node_id),
        names.TENANT: names.label(spec.tenant_id),
        names.CONTAINER: names.label(spec.container_id),
    }


def marks(spec: ContainerSpec) -> dict[str, str]:
    """Return what a container's owner needs to know of it, exactly."""
    return {
        f"{names.ANNOTATIONS}/container": spec.container_id,
        f"{names.ANNOTATIONS}/tenant": spec.tenant_id,
        f"{names.ANNOTATIONS}/workspace": spec.workspace_id,
        f"{names.ANNOTATIONS}/secret-digest": names.secret_digest(spec.secret),
    }


def _common(spec: ContainerSpec, rules: Rules) -> Document:
    kind = "INTERNAL_ONLY" if rules.ingress is Ingress.INTERNAL else "ALL"
    return {
        "labels": labels(spec, rules),
        "annotations": marks(spec),
        "ingress": f"INGRESS_TRAFFIC_{kind}",
        "invoker_iam_disabled": False,
    }


def _container(spec: ContainerSpec, rules: Rules, *, scales: bool) -> Document:
    return {
        "name": "workspace",
        "image": spec.image,
        **({"command": list(rules.command)} if rules.command else {}),
        **({"args": list(rules.codi_arguments)} if rules.codi_arguments else {}),
        "ports": [{"name": "http1", "container_port": PORT}],
        "resources": {
            "limits": {"cpu": f"{spec.cpu:g}", "memory": _quantity(spec.memory_bytes)},
            **({"cpu_idle": True, "startup_cpu_boost": True} if scales else {}),
        },
        "env": _environment(spec, rules),
        "startup_probe": {
            "tcp_socket": {"port": PORT},
            "period_seconds": _STARTUP_PERIOD,
            "timeout_seconds": _PROBE_SECONDS,
            "failure_threshold": _STARTUP_FAILURES,
        },
    }


def _quantity(size: int) -> str:
    """Return bytes as Cloud Run writes memory, rounded up to whole MiB."""
    whole = -(-size // _MIB)
    return f"{whole}Mi" if whole % 1024 else f"{whole // 1024}Gi"


def _environment(spec: ContainerSpec, rules: Rules) -> list[Document]:
    config = {
        "secret_digest": names.secret_digest(spec.secret),
        "container_id": spec.container_id,
        "epoch": spec.epoch,
        "workspace": "/workspace",
        "volatile": True,
    }
    given = {**spec.env, "CODI_CONFIG": json.dumps(config, separators=(",", ":"))}
    if spec.user_id is not None:
        given["USER_ID"] = spec.user_id
    if rules.fdb_cluster:
        given["FDB_CLUSTER"] = rules.fdb_cluster
    values: list[Document] = [{"name": name, "value": value} for name, value in given.items()]
    return values + [
        {
            "name": each.variable,
            "value_source": {"secret_key_ref": {"secret": each.secret, "version": each.version}},
        }
        for each in rules.secrets
    ]


def _vpc_access(rules: Rules) -> Document:
    network, _, subnetwork = rules.network.partition("/")
    interface: Mapping[str, Any] = {"network": network, "tags": [NETWORK_TAG]}
    if subnetwork:
        interface = {**interface, "subnetwork": subnetwork}
    return {"egress": "ALL_TRAFFIC", "network_interfaces": [dict(interface)]}
