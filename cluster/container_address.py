"""Addresses of containers, in the one form that every runtime uses. Pure.

``host:port`` is a container of this network, spoken to in the clear. ``https://host#boot`` is one behind
Google's front: reached over TLS by whoever has an identity token for it, and only while its instance is
the one that said ``boot`` at its start. A restarted instance has another one, and an empty disk: CODI
refuses whatever was meant for the former.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """Parts of an address. ``audience`` is what identity tokens for it must name; None: it needs none."""

    host: str
    port: int
    authority: str
    secure: bool = False
    audience: str | None = None
    boot: str | None = None

    @property
    def http(self) -> str:
        """The beginning of its URLs."""
        return f"{'https' if self.secure else 'http'}://{self.authority}"

    @property
    def websocket(self) -> str:
        """The beginning of its WebSockets' URLs."""
        return f"{'wss' if self.secure else 'ws'}://{self.authority}"


@lru_cache(1024)
def parse(text: str) -> Address:
    """Return the parts of an address. Raises ValueError for what is none."""
    if "://" not in text:
        host, _, port = text.rpartition(":")
        return Address(host.strip("[]"), int(port), text)
    url = urlsplit(text)
    if url.scheme not in _PORTS or not url.hostname or url.path.strip("/") or url.query:
        raise ValueError(f"{text!r} is no address of a container")
    return Address(
        host=url.hostname,
        port=url.port or _PORTS[url.scheme],
        authority=url.netloc,
        secure=url.scheme == "https",
        audience=f"{url.scheme}://{url.netloc}",
        boot=url.fragment or None,
    )
