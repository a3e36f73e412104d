"""`coditect ports` and `coditect port-forward`: what listens in the workspace, and the way to it."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from coditect.cli.common import (
    JsonOption,
    ServerOption,
    SessionOption,
    fail,
    named,
    pick,
    print_json,
    signed_in,
)

_PORTS = re.compile(r"(?:([0-9]{1,5}):)?([0-9]{1,5})")
_LARGEST_PORT = 65535
_LOOK_SECONDS = 0.5


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("ports")(ports)
    app.command("port-forward")(port_forward)


def ports(
    session: SessionOption = None, as_json: JsonOption = False, server: ServerOption = None
) -> None:
    """List what listens in your workspace, with whom it is shared, and its address."""
    with signed_in(server) as client:
        found = client.ports(named(client, session or "").session_id)
    if as_json:
        print_json(found)
        return
    table = Table("port", "program", "shared", "address", box=None)
    for each in found:
        program = each.program or ("?" if each.listening else "-")
        table.add_row(str(each.port), program, each.visibility, each.url)
    Console().print(table)


def port_forward(
    arguments: Annotated[
        list[str], typer.Argument(metavar="[SESSION] [LOCAL:]PORT...", help="Ports to forward.")
    ],
    session: SessionOption = None,
    address: Annotated[
        str, typer.Option(help="Address of this machine to listen on.")
    ] = "127.0.0.1",
    server: ServerOption = None,
) -> None:
    """Forward TCP ports of this machine to your workspace, until you press Ctrl-C.

    `coditect port-forward 8000` makes the workspace's port 8000 this machine's; `9000:8000` its port 9000;
    `0:8000` a free one.
    """
    if session is None and _PORTS.fullmatch(arguments[0]) is None:
        session, arguments = arguments[0], arguments[1:]
    wanted = [_pair(each) for each in arguments]
    if not wanted:
        fail("which port? e.g. coditect port-forward 8000")
    with signed_in(server) as client, ExitStack() as stack:
        session_id = pick(client, session).session_id
        forwards = []
        for local, port in wanted:
            made = client.forward_port(session_id, port, local_port=local, host=address)
            forwards.append(stack.enter_context(made))
            typer.echo(f"{address}:{made.port} -> port {port} of {session_id}")
        said: set[str] = set()
        try:
            while True:
                time.sleep(_LOOK_SECONDS)
                for each in forwards:
                    if each.error is not None and str(each.error) not in said:
                        said.add(str(each.error))
                        typer.echo(f"coditect: {each.error}", err=True)
        except KeyboardInterrupt:
            return


def _pair(text: str) -> tuple[int, int]:
    match = _PORTS.fullmatch(text)
    if match is None or not 0 < int(match[2]) <= _LARGEST_PORT:
        fail(f"{text}: not [LOCAL:]PORT")
    local = int(match[1]) if match[1] is not None else int(match[2])
    if local > _LARGEST_PORT:
        fail(f"{text}: not [LOCAL:]PORT")
    return local, int(match[2])
