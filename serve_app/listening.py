"""Makes Ray Serve's own servers listen at the node's address, whatever address the ingress has.

Serve (2.60, ``serve/_private/replica.py`` and ``proxy.py``) starts the HTTP servers of replicas and of the
fallback proxy at the ingress's address, where they would pass HAProxy and its limits by, and a gRPC
server in each replica at all addresses. HAProxy alone is to be reached from outside.
"""

from __future__ import annotations

from typing import Any


def stay_at(address: str) -> None:
    """Have the servers that this process starts from now on listen at ``address``. Idempotent."""
    from ray._common.tls_utils import add_port_to_grpc_server  # noqa: PLC0415 - of Serve's processes
    from ray.serve._private import http_util, proxy, replica  # noqa: PLC0415

    async def start_http(app: Any, options: Any, **arguments: Any) -> Any:
        here = options.model_copy(update={"host": address})
        return await http_util.start_asgi_http_server(app, here, **arguments)

    def add_port(server: Any, _where: str) -> int:
        port: int = add_port_to_grpc_server(server, f"{address}:0")
        return port

    for module in (proxy, replica):
        module.start_asgi_http_server = start_http
    replica.add_port_to_grpc_server = add_port
