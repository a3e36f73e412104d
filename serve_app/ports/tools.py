"""What ports' requests are answered with, and the addresses by which visitors are led to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from actors.core.ports.clock import Clock
from serve_app.dependencies import SpentTickets
from serve_app.ports.access import PortAccess
from serve_app.ports.hosts import PortHosts
from serve_app.ports.passes import Pass, Passes
from serve_app.ports.proxy import HttpProxy
from serve_app.ports.upstream import Pools
from serve_app.sessions.gateway import SessionGateway

ENTER = "/.coditect/enter"


@dataclass(frozen=True, slots=True)
class PortTools:
    """The parts of one replica that ports need."""

    hosts: PortHosts
    passes: Passes
    access: PortAccess
    gateway: SessionGateway
    tickets: SpentTickets
    pools: Pools
    proxy: HttpProxy
    clock: Clock
    new_id: Callable[[str], str]


def enter_url(tools: PortTools, base: str, visitor: Pass, target: str) -> str:
    """Return the address by which a visitor whom the platform knows enters a port. ``target``: a path."""
    now = tools.clock.now()
    ticket = tools.passes.ticket(visitor, now=now)
    own = tools.hosts.url(base, visitor.session_id, visitor.port)
    return f"{own}{ENTER}?{urlencode({'ticket': ticket, 'to': safe_target(target)})}"


def sandboxed_url(tools: PortTools, base: str, visitor: Pass, target: str) -> str:
    """Return the address below the platform's own, for where ports have no origins."""
    pass_ = tools.passes.cookie(visitor, now=tools.clock.now())
    place = f"/workspaces/{visitor.session_id}/ports/{visitor.port}/~{pass_}"
    return f"{base}{place}{safe_target(target)}"


def safe_target(target: str) -> str:
    """Return a path and query that stay on their origin, whatever was asked for."""
    plain = "".join(each for each in target if " " < each < "\x7f" and each != "\\")
    return "/" + plain.lstrip("/")
