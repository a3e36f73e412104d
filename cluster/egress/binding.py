"""How a secret that is bound to a host becomes a header of a request. Pure."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from actors.core.records.environment import Binding, SecretRecord, SecretUse

MAX_USERNAME = 128
MAX_HEADER = 64
MAX_VALUE = 8 << 10
"""Bytes of a value that is added: servers take little more in a header."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VISIBLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
# Of the connection and of the message itself (RFC 9110, 7.6.1): the gateway writes those.
_NOT_OURS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "upgrade"}
    | {"transfer-encoding", "http2-settings"}
)


@dataclass(frozen=True, slots=True)
class Bound:
    """What is bound to a host and port. ``https``: the gateway opens connections to it."""

    host: str
    port: int
    https: bool
    records: tuple[SecretRecord, ...]


def check(binding: Binding, value: str) -> None:
    """Raise ValueError, which does not repeat the value, if no header can be made of it."""
    if len(value.encode()) > MAX_VALUE:
        raise ValueError(f"a value that is added to requests has at most {MAX_VALUE} bytes")
    if binding.use is SecretUse.BASIC:
        name = binding.username
        if not name or len(name) > MAX_USERNAME or ":" in name or not name.isprintable():
            raise ValueError(f"a username of 1 to {MAX_USERNAME} characters without a colon")
        return
    if binding.username:
        raise ValueError("a username is for basic")
    if not _VISIBLE.fullmatch(value):
        raise ValueError("a value that is added to requests is of visible ASCII characters")
    name = binding.header.lower()
    if len(name) > MAX_HEADER or not _TOKEN.fullmatch(name):
        raise ValueError("a header's name, as in X-Api-Key")
    if name in _NOT_OURS or name.startswith("proxy-"):
        raise ValueError(f"{name} is of the connection, and cannot be set")


def header(binding: Binding, value: str) -> tuple[bytes, bytes]:
    """Return name and value of the header that a request gets."""
    name = binding.header.encode("ascii")
    if binding.use is SecretUse.BEARER:
        return name, b"Bearer " + value.encode("ascii")
    if binding.use is SecretUse.BASIC:
        return name, b"Basic " + base64.b64encode(f"{binding.username}:{value}".encode())
    return name, value.encode("ascii")
