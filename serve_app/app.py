"""The Serve application of a server."""

from __future__ import annotations

from typing import Any

from cluster.wiring.node import NodeWiring
from serve_app.deployment import bound

APPLICATION = "coditect"


def build(wiring: NodeWiring) -> Any:
    """Return the application for ``serve.run``: the ingress at every path."""
    return bound(wiring)
