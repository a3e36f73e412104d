"""Reads the operator's rules of the network out of the settings."""

from __future__ import annotations

from ipaddress import ip_network

from cluster.egress.mirrors import Mirrors
from cluster.egress.policy import Rules, parse_hosts
from cluster.egress.rates import Limits
from cluster.settings import Settings


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
    )


def limits(settings: Settings) -> Limits:
    """Return the limits of each session."""
    return Limits(settings.egress_connections, settings.egress_rate, settings.egress_day)
