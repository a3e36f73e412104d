"""`coditect nodes` and `coditect drain`: the machines of a server, for administrators."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from coditect.cli.common import JsonOption, ServerOption, administrator, fail, print_json
from coditect.models import Node

PAUSE_SECONDS = 1.0
WIDTH = 160


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(nodes)
    app.command()(drain)


def nodes(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """List the machines of the server, and what each has room for (administrators only)."""
    with administrator(server) as client:
        found = client.nodes()
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo("one machine; others can join one with a node_address in a private network")
        return
    table = Table(
        "node", "address", "status", "containers", "warm", "cpus", "memory free", "labels", box=None
    )
    for node in found:
        table.add_row(
            node.node_id + (" (head)" if node.is_head else ""),
            node.address,
            node.status,
            str(node.containers),
            str(node.warm_containers),
            str(node.cpus),
            f"{node.memory_free:.0%}",
            ",".join(f"{name}={value}" for name, value in node.labels.items()),
        )
    Console(width=WIDTH).print(table)


def drain(
    node_id: Annotated[
        str, typer.Argument(metavar="NODE", help="Node, as `coditect nodes` lists it.")
    ],
    timeout: Annotated[
        float, typer.Option(help="Limit in seconds; it goes on afterwards.")
    ] = 600.0,
    server: ServerOption = None,
) -> None:
    """Move a node's sessions to others, one by one with their sockets open, and have it leave."""
    with administrator(server) as client:
        found = client.drain_node(node_id)
        deadline = time.monotonic() + timeout
        while (node := _find(found, node_id)).status != "drained":
            if time.monotonic() > deadline:
                fail(_says_late(node, timeout))
            time.sleep(PAUSE_SECONDS)
            found = client.nodes()
    typer.echo("empty")


def _find(found: Sequence[Node], node_id: str) -> Node:
    """Return a node; fails when the server does not have it any more."""
    own = [node for node in found if node.node_id == node_id]
    if not own:
        fail(f"{node_id} has left before it was empty; its sessions go on elsewhere without it")
    return own[0]


def _says_late(node: Node, timeout: float) -> str:
    if node.status == "lost":
        return f"{node.node_id} is lost; it is emptied on if it comes back"
    return f"{node.containers} containers are left after {timeout:g} s; the node is emptied on"
