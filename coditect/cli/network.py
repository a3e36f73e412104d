"""`coditect network`: what a session may reach outside."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

import typer

from coditect.cli.common import (
    JsonOption,
    ServerOption,
    fail,
    pick,
    print_json,
    signed_in,
    size_text,
)
from coditect.models import Network, Session


class Policy(StrEnum):
    """What a session may reach."""

    NONE = "none"
    ALLOW_LIST = "allow-list"
    INTERNET = "internet"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("network")(network)


def network(
    session: Annotated[str | None, typer.Argument(help="Session; by itself the default.")] = None,
    policy: Annotated[Policy | None, typer.Option(help="What it may reach from now on.")] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Host of an allow-list: name, *.domain, name:port; as often as needed."),
    ] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Say what a session may reach outside, what it did today and what was refused; or choose it."""
    if allow and policy is None:
        policy = Policy.ALLOW_LIST
    if allow and policy is not Policy.ALLOW_LIST:
        fail(f"--allow is for --policy {Policy.ALLOW_LIST}")
    with signed_in(server) as client:
        known = (each for each in client.sessions() if session in _names(each))
        session_id = (next(known, None) or pick(client, session)).session_id
        if policy is None:
            found = client.network(session_id)
        else:
            found = client.set_network(session_id, policy, allow or ())
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(_lines(found)))


def _names(session: Session) -> tuple[str | None, ...]:
    return None, session.session_id, session.name


def _lines(found: Network) -> list[str]:
    chosen = "chosen" if found.chosen else "the server's default"
    lines = [f"{found.policy} ({chosen}; at most {found.limit})"]
    if found.policy == Policy.ALLOW_LIST:
        lines += [f"  allowed: {host}" for host in found.allow] or ["  nothing is allowed"]
    lines += [f"  always: {host}" for host in found.server_hosts if found.policy != Policy.NONE]
    if found.today is not None:
        moved = f"{size_text(found.today.sent)} sent, {size_text(found.today.received)} received"
        lines.append(f"today: {moved}, {found.today.connections} connections")
    for each in found.refusals:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.at))
        times = f" ({each.count} times)" if each.count > 1 else ""
        lines.append(f"refused {at}: {each.reason} [{each.rule}]{times}")
    return lines
