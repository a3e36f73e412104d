"""Decides what a session may reach by name: the operator's rules, and within them its owner's. Pure.

Names come first, addresses after (``addresses.py``): what a name allows may still lead to an address that
nobody reaches, except where the operator named the host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from actors.core.errors.access import PermissionDenied
from actors.core.errors.requests import InvalidArgument
from actors.core.records.egress import EgressPolicy, NetworkRecord
from cluster.egress.addresses import Network

MAX_ALLOW = 200
MAX_HOST = 253
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_SIX = re.compile(r"[0-9a-f:.]+")
_WIDTH = {policy: width for width, policy in enumerate(EgressPolicy)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on a host. ``rule`` is None if it is allowed; ``private``: whatever its address is."""

    rule: str | None = None
    reason: str = ""
    private: bool = False


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A host of a list: a name, ``*.`` and a domain for all below it, or ``*``; at one port or any (None)."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> HostPattern:
        """Read ``host``, ``host:port``, ``*.domain``, ``[v6]:port``. Raises ValueError."""
        host, port = split(text.strip().lower())
        if host == "*":
            return cls(host, port)
        below = host.startswith("*.")
        name = normal(host[2:] if below else host)
        if below and (":" in name or name.replace(".", "").isdigit()):
            raise ValueError(f"{text!r}: nothing is below an address")
        return cls(f"*.{name}" if below else name, port)

    def matches(self, host: str, port: int) -> bool:
        """Return whether a host, as ``normal`` writes it, is meant at this port."""
        if self.port not in (None, port):
            return False
        if self.host.startswith("*."):
            return host.endswith(self.host[1:])
        return self.host in ("*", host)

    def __str__(self) -> str:
        """Return what ``parse`` reads."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def split(text: str) -> tuple[str, int | None]:
    """Take a port off a host. Raises ValueError."""
    host, port = text, ""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f"{text!r}: an address of IPv6 is written [address]:port")
        port = port[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not port:
        return host, None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError(f"{text!r}: a port is 1 to 65535")
    return host, int(port)


def normal(host: str) -> str:
    """Return a host in the one spelling in which hosts are compared. Raises ValueError for what is none.

    Numbers keep their spelling: an address is judged when it is known, and matches only itself.
    """
    name = host.strip("[]").lower().removesuffix(".")
    if not name.isascii():
        try:
            name = name.encode("idna").decode()
        except UnicodeError:
            raise ValueError(f"{host!r} is no host name") from None
    shape = _SIX if ":" in name else _NAME
    if len(name) > MAX_HOST or ".." in name or not shape.fullmatch(name):
        raise ValueError(f"{host[:MAX_HOST]!r} is no host name")
    return name


def parse_hosts(text: str) -> tuple[HostPattern, ...]:
    """Read hosts that are separated by commas. Raises ValueError."""
    return tuple(HostPattern.parse(each) for each in text.split(",") if each.strip())


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's rules. ``allow`` is the list of sessions without one, and the limit's.

    ``hosts`` are reached by every session that reaches anything, also at private addresses; ``refuse`` are
    networks beside those that nobody reaches. ``closed`` are ports that nobody reaches at private addresses,
    whatever ``hosts`` has: those by which nodes and Ray talk to each other.
    """

    default: EgressPolicy = EgressPolicy.INTERNET
    limit: EgressPolicy = EgressPolicy.INTERNET
    allow: tuple[HostPattern, ...] = ()
    hosts: tuple[HostPattern, ...] = ()
    refuse: tuple[Network, ...] = ()
    closed: tuple[range, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """The policy of a session as it is in force."""

    policy: EgressPolicy
    allow: tuple[HostPattern, ...] = field(default=())


def in_force(rules: Rules, record: NetworkRecord | None) -> Choice:
    """Return what counts for a session: its own choice within today's limit, else the default."""
    wanted = rules.default if record is None else record.policy
    policy = min(wanted, rules.limit, key=_WIDTH.__getitem__)
    if policy is not EgressPolicy.ALLOW_LIST:
        return Choice(policy)
    own = record is not None and record.policy is EgressPolicy.ALLOW_LIST
    return Choice(policy, tuple(_readable(record.allow)) if own and record else rules.allow)


def _readable(allow: Iterable[str]) -> Iterable[HostPattern]:
    return (HostPattern.parse(each) for each in allow)


def choose(rules: Rules, policy: EgressPolicy, allow: Iterable[str]) -> tuple[str, ...]:
    """Check what a session's owner wants, and return the list as it is kept.

    Raises InvalidArgument for what is no list of hosts, PermissionDenied for more than the operator's limit.
    """
    if _WIDTH[policy] > _WIDTH[rules.limit]:
        raise PermissionDenied(f"network policy {policy}; this server's limit is {rules.limit}")
    listed = list(allow)
    if len(listed) > MAX_ALLOW:
        raise InvalidArgument("allow", f"at most {MAX_ALLOW} hosts")
    if listed and policy is not EgressPolicy.ALLOW_LIST:
        raise InvalidArgument("allow", "is for the policy allow-list")
    try:
        return tuple(dict.fromkeys(str(HostPattern.parse(each)) for each in listed))
    except ValueError as error:
        raise InvalidArgument("allow", str(error)) from None


def decide(rules: Rules, choice: Choice, host: str, port: int) -> Verdict:
    """Decide on a host, as ``normal`` writes it, and a port."""
    place = f"{host}:{port}"
    if choice.policy is EgressPolicy.NONE:
        return Verdict("none", "this session's network policy is none")
    if _has(rules.hosts, host, port):
        return Verdict(private=not any(port in ports for ports in rules.closed))
    if rules.limit is EgressPolicy.ALLOW_LIST and not _has(rules.allow, host, port):
        return Verdict("server_allow_list", f"{place} is not in the server's allow list")
    if choice.policy is EgressPolicy.ALLOW_LIST and not _has(choice.allow, host, port):
        return Verdict("allow_list", f"{place} is not in this session's allow list")
    return Verdict()


def _has(patterns: Iterable[HostPattern], host: str, port: int) -> bool:
    return any(pattern.matches(host, port) for pattern in patterns)
