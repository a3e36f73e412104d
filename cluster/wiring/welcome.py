"""What a head answers a node that greets it: its version, and to one that joins all that it needs.

Whoever gets that has the key of the cluster's nodes (``credentials.py``): with the token of Ray they can run
whatever they like on every node, so nothing is kept from them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from actors.core.timing import within
from cluster import secret_settings
from cluster.layout import Layout
from cluster.membership import credentials, version
from cluster.paths import store_socket
from cluster.secrets import key_file
from cluster.settings import Settings
from cluster.store.layers.nodes import NodeStore
from cluster.store.remote.client import RemoteEngine
from cluster.store.remote.server import REFUSED, TAKEN, Network

NODES_OWN = frozenset(
    {"data_dir", "node_address", "cluster_port", "head", "node_labels", "host", "port", "ssh_port"}
    | {"ssh_host", "public_url", "secret_key_file", "dashboard"}
)
"""Settings that a node does not take over from its head."""
RAY_SECONDS = 3.0


def network(settings: Settings) -> Network:
    """Return how a head serves other nodes."""
    return Network(
        (settings.ray_address, settings.cluster_port),
        partial(credentials.head_context, settings.data_dir),
        partial(welcome, settings),
    )


async def _is_alive(
    settings: Settings, node_id: str, ray_nodes: Callable[[], list[dict[str, Any]]]
) -> bool:
    """Return whether a node of that id has joined, and lives as far as Ray knows. Raises Unavailable."""
    engine = RemoteEngine(store_socket(settings, Layout(settings.data_dir).node_id()))
    try:
        known = await NodeStore(engine, settings.tenant).node(node_id)
    finally:
        engine.close()
    if known is None:
        return False
    nodes = await within(RAY_SECONDS, "Ray's nodes", asyncio.to_thread(ray_nodes))
    return any(each["Alive"] and each["NodeID"] == known.ray_node_id for each in nodes)


async def welcome(settings: Settings, greeting: dict[str, Any]) -> dict[str, Any]:
    """Answer a greeting; ``{"version", "joins"}`` of one that joins."""
    mine, theirs = version.own(), str(greeting.get("version", "of no version"))[:200]
    if mine != theirs:
        return {REFUSED: f"the head has {mine}, this node {theirs}: install the same on both"}
    if not greeting.get("joins"):
        return {}
    if settings.chunk_store is None:
        return {
            REFUSED: "workspaces' contents lie in the head's data directory, which no other node reaches:"
            " set chunk_store there, to gs://…, s3://… or a directory that all nodes have, and start it again"
        }
    import ray  # noqa: PLC0415 - of the StoreActor's process, which answers

    if await _is_alive(settings, str(greeting.get("node_id", "")), ray.nodes):
        return {REFUSED: TAKEN}
    passed = secret_settings.without(settings).model_dump(mode="json", exclude=set(NODES_OWN))
    return {
        "settings": passed,
        "gcs_address": ray.get_runtime_context().gcs_address,
        "ray_token": Layout(settings.data_dir).token_file.read_text(),
        "secret_key": key_file.text(settings),
    }
