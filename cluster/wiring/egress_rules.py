"""Reads the operator's rules of the network out of the settings."""

from __future__ import annotations

from ipaddress import ip_network

from cluster.egress.mirrors import Mirrors
from cluster.egress.policy import Rules, parse_hosts
from cluster.egress.rates import Limits
from cluster.settings import RAY_PORTS, Settings, parse_place


def mirrors(settings: Settings) -> Mirrors:
    """Return the mirrors that containers are told of."""
    return Mirrors(settings.mirror_pip, settings.mirror_npm, settings.mirror_apt)


def rules(settings: Settings) -> Rules:
    """Return the operator's rules."""
    networks = filter(None, map(str.strip, settings.egress_refuse.split(",")))
    return Rules(
        default=settings.egress,
        limit=settings.egress_limit,
        allow=parse_hosts(settings.egress_allow),
        hosts=parse_hosts(settings.egress_hosts) + mirrors(settings).hosts,
        refuse=tuple(map(ip_network, networks)),
        closed=_closed(settings),
    )


def _closed(settings: Settings) -> tuple[range, ...]:
    """Return the ports of nodes for each other, none where there is one node alone."""
    if settings.head is not None:
        joined_at = parse_place(settings.head)[1]
    elif settings.is_joinable:
        joined_at = settings.cluster_port
    else:
        return ()
    return range(joined_at, joined_at + 1), RAY_PORTS


def limits(settings: Settings) -> Limits:
    """Return the limits of each session."""
    return Limits(settings.egress_connections, settings.egress_rate, settings.egress_day)
