"""Counts connections, so that neither a stranger nor one user takes what the others need. Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass, field

MAX_STRANGERS = 256
MAX_STRANGERS_PER_PLACE = 32


@dataclass(slots=True)
class Seats:
    """Connections: of strangers, who have not proved yet who they are, and of users."""

    per_user: int
    in_all: int
    strangers: Counter[str] = field(default_factory=Counter)
    users: Counter[str] = field(default_factory=Counter)

    def enter(self, address: str) -> str | None:
        """Give a stranger a place; return its name, None when there is none."""
        place = place_of(address)
        if self.strangers.total() >= MAX_STRANGERS:
            return None
        if self.strangers[place] >= MAX_STRANGERS_PER_PLACE:
            return None
        self.strangers[place] += 1
        return place

    def leave(self, place: str) -> None:
        """Take a stranger's place back."""
        _less(self.strangers, place)

    def sit(self, user_id: str) -> str | None:
        """Give a user a seat; return why there is none, or None."""
        if self.users[user_id] >= self.per_user:
            return f"{self.per_user} connections of yours are open already: close one"
        if self.users.total() >= self.in_all:
            return "the server has as many connections as it takes; try again later"
        self.users[user_id] += 1
        return None

    def stand_up(self, user_id: str) -> None:
        """Take a user's seat back."""
        _less(self.users, user_id)


def place_of(address: str) -> str:
    """Return what counts as one place: an address, of IPv6 the network of one household."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(known), 64), strict=False))
    return address


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
