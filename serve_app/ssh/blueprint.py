"""Tells the Supervisor how the gateway's actor is made. Light: its process imports this, and no more."""

from __future__ import annotations

from functools import partial
from typing import Any

from actors.core import names
from actors.supervisor.actor import ActorBlueprint
from cluster.wiring.node import NodeWiring

CONCURRENCY = 100


def blueprint(wiring: NodeWiring) -> ActorBlueprint:
    """Return the recipe for a node's gateway; nothing else needs it to live."""
    name = names.ssh_actor(wiring.node_id)
    return ActorBlueprint(name, partial(_make, wiring, name), "ssh", vital=False)


def _make(wiring: NodeWiring, name: str) -> Any:
    from cluster.wiring.blueprints import detached  # noqa: PLC0415 - once, where it is made
    from serve_app.ssh.actor import SshActor  # noqa: PLC0415

    return detached(wiring, SshActor, name, CONCURRENCY, wiring)
