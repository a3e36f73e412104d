"""SOCKS 5 as it comes over the wire (RFC 1928): bytes in, requests out. Pure.

Only CONNECT, and no authentication: who asks is known by where the connection came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

VERSION = 5
SUCCEEDED, FAILED, NOT_ALLOWED, UNREACHABLE, NO_COMMAND, NO_ADDRESS_TYPE = 0, 1, 2, 4, 7, 8
CHOSEN, NONE_ACCEPTABLE = b"\x05\x00", b"\x05\xff"
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
MAX_BYTES = 512


class BadSocks(Exception):
    """Something that is no SOCKS 5, or nothing that is served; ``reply`` is the code to answer with."""

    def __init__(self, words: str, reply: int | None = None) -> None:
        super().__init__(words)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class SocksRequest:
    """A request to connect; ``used`` bytes were its own."""

    host: str
    port: int
    used: int


def methods(data: bytes) -> int | None:
    """Return how many bytes the greeting has; None: not all of it is there. Raises BadSocks."""
    if data and data[0] != VERSION:
        raise BadSocks("not SOCKS 5")
    if len(data) < 2 or len(data) < 2 + data[1]:
        return None
    if 0 not in data[2 : 2 + data[1]]:
        raise BadSocks("no method but 'no authentication' is served")
    return 2 + data[1]


def request(data: bytes) -> SocksRequest | None:
    """Return the request; None: not all of it is there. Raises BadSocks."""
    if len(data) < 5:
        return None
    version, command, _, kind, first = data[:5]
    if version != VERSION:
        raise BadSocks("not SOCKS 5", FAILED)
    if kind not in (_IPV4, _NAME, _IPV6):
        raise BadSocks("an unknown type of address", NO_ADDRESS_TYPE)
    begin = 5 if kind == _NAME else 4
    end = begin + {_IPV4: 4, _NAME: first, _IPV6: 16}[kind]
    if len(data) < end + 2:
        return None
    if command != _CONNECT:
        raise BadSocks("only CONNECT is served", NO_COMMAND)
    raw = data[begin:end]
    if kind == _NAME:
        host = raw.decode("utf-8", "replace")
    else:
        host = str(IPv4Address(raw) if kind == _IPV4 else IPv6Address(raw))
    return SocksRequest(host, int.from_bytes(data[end : end + 2]), end + 2)


def reply(code: int) -> bytes:
    """Return the answer to a request."""
    return bytes((VERSION, code, 0, _IPV4)) + bytes(6)
