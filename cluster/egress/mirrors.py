"""What an operator writes down of mirrors, as the settings have it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from cluster.egress.policy import HostPattern, normal

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Addresses of mirrors; None: the programs' own."""

    pip: str | None = None
    npm: str | None = None
    apt: str | None = None

    @property
    def hosts(self) -> tuple[HostPattern, ...]:
        """Where they are: who sets a mirror means containers to reach it."""
        return tuple(host_of(each) for each in (self.pip, self.npm, self.apt) if each)


def host_of(address: str) -> HostPattern:
    """Return host and port of an address of HTTP. Raises ValueError for what is none."""
    parts = urlsplit(address)
    written = address.isprintable() and not re.search(r"[\s\"'\\]", address)
    if parts.username is not None:
        raise ValueError("an address without a password: every container can read it")
    if parts.scheme not in ("http", "https") or not parts.hostname or not written:
        raise ValueError("an address that begins with http:// or https://")
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return HostPattern(normal(parts.hostname), port)


def parse_variables(text: str) -> dict[str, str]:
    """Read NAME=value, separated by commas. Raises ValueError."""
    found = {}
    for each in filter(None, map(str.strip, text.split(","))):
        name, equals, value = each.partition("=")
        if not equals or not _VARIABLE.fullmatch(name) or not value.isprintable():
            raise ValueError(f"NAME=value, not {each!r}")
        found[name] = value
    return found
