"""Which port of which session a host stands for, ``{port}--{session}.{domain}``, and the way back. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from serve_app.http.origins import Origin, parse

_LABEL = re.compile(r"([1-9][0-9]{0,4})--([a-z0-9](?:[a-z0-9-]{0,53}[a-z0-9])?)")
_HOST = re.compile(r"([^:\[\]]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_LOOPBACKS = frozenset({"localhost", "127.0.0.1", "[::1]", "::1", "0.0.0.0", "[::]"})  # noqa: S104 - as programs print it
_LARGEST_PORT = 65535


class PortHost(NamedTuple):
    """A port of a session. ``suffix`` is what follows its name in the host: domain and, if any, port."""

    port: int
    session_id: str
    suffix: str


class NotOurs(NamedTuple):
    """A host below the domain that stands for nothing."""


class PortHosts:
    """Knows the hosts below one domain; without one there are none.

    ``public_url`` is the platform's own, which may lie below the domain itself.
    """

    def __init__(self, domain: str, public_url: str | None, *, secure: bool) -> None:
        self._domain = domain
        self._public = parse(public_url) if public_url else None
        self._secure = secure

    def find(self, host: str) -> PortHost | NotOurs | None:
        """Return what a ``Host`` stands for; None: it is no host of a port, so the platform's."""
        match = _HOST.fullmatch(host.lower())
        if not self._domain or match is None:
            return None
        name, served_at = match[1], match[2] or ""
        bare = name.rstrip(".")
        if not bare.endswith(f".{self._domain}"):
            return None
        if self._public is not None and bare == self._public.host:
            return None
        label = _LABEL.fullmatch(bare.removesuffix(f".{self._domain}"))
        if label is None or name != bare or int(label[1]) > _LARGEST_PORT:
            return NotOurs()
        return PortHost(int(label[1]), label[2], f"{self._domain}{served_at}")

    def has_origins(self, host: str) -> bool:
        """Return whether whoever reaches the platform under this ``Host`` reaches ports' origins, too.

        ``localhost`` leads to the visitor's own machine, so only to us who came over it.
        """
        if self._domain != "localhost" or not self._domain:
            return bool(self._domain)
        match = _HOST.fullmatch(host.lower())
        return match is not None and match[1] in _LOOPBACKS

    def scheme(self, scheme: str) -> str:
        """Return by which scheme browsers reach us."""
        if self._public is not None:
            return self._public.scheme
        return "https" if self._secure or scheme in {"https", "wss"} else "http"

    def url(self, base: str, session_id: str, port: int) -> str:
        """Return the address of a port for who knows the platform as ``base``; no slash at its end."""
        parts = urlsplit(base)
        if not self.has_origins(parts.netloc):
            return f"{base}/workspaces/{session_id}/ports/{port}"
        served_at = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{port}--{session_id}.{self._domain}{served_at}"

    def platform(self, found: PortHost, scheme: str) -> str:
        """Return the platform's address for who came to a port's host and says nothing of it."""
        public = self._public
        if public is None:
            return f"{self.scheme(scheme)}://{found.suffix}"
        return f"{public.scheme}://{public.host}{_served_at(public)}"


class Translation(NamedTuple):
    """Between what a program inside calls itself, ``http://localhost:{port}``, and its origin outside.

    The other ports of its session are translated likewise, so that a page of one may ask another, as far
    as that allows it.
    """

    host: PortHost
    scheme: str

    def inward(self, origin: str) -> str:
        """Return what an ``Origin`` outside is inside; one of anybody else stays as it is."""
        found = parse(origin)
        if found is None or origin.count("/") != 2:
            return origin
        label, _, suffix = origin.partition("://")[2].lower().partition(".")
        match = _LABEL.fullmatch(label)
        if match is None or match[2] != self.host.session_id or suffix != self.host.suffix:
            return origin
        return f"http://localhost:{match[1]}"

    def outward(self, url: str) -> str:
        """Return what a URL, or an origin, of this machine inside is outside; any other stays as it is."""
        try:
            parts = urlsplit(url)
            port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        except ValueError:
            return url
        if parts.scheme not in {"http", "https"} or not port or parts.username is not None:
            return url
        if (parts.hostname or "") not in _LOOPBACKS:
            return url
        rest = url[len(parts.scheme) + 3 + len(parts.netloc) :]
        return f"{self.origin(port)}{rest}"

    def origin(self, port: int | None = None) -> str:
        """Return the origin of a port of the session, this one's by default."""
        host = self.host
        return f"{self.scheme}://{port or host.port}--{host.session_id}.{host.suffix}"


def _served_at(origin: Origin) -> str:
    usual = {"http": 80, "https": 443}[origin.scheme]
    return "" if origin.port == usual else f":{origin.port}"
