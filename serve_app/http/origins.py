"""Under which origin (RFC 6454) a request reached us, and what follows from it. Pure.

Behind a proxy the origin is the one of ``public_url``, for requests to its host; any other request
reached us as its ``Host`` says. Cookies are named after it: browsers keep the cookies of a host together
whatever the port, so two servers on one host would overwrite each other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_SCHEMES = {"ws": "http", "wss": "https"}


class Origin(NamedTuple):
    """Scheme, host and port, in lower case; the port always in figures."""

    scheme: str
    host: str
    port: int


def parse(url: str) -> Origin | None:
    """Return a URL's origin; None if it has none."""
    try:
        parts = urlsplit(url)
        scheme = _SCHEMES.get(parts.scheme, parts.scheme)
        port = parts.port or _PORTS.get(scheme)
        if scheme not in _PORTS or not parts.hostname or port is None:
            return None
        return Origin(scheme, parts.hostname.lower(), port)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class CookieNames:
    """Names of the cookies, and the path to which those of signing in are sent.

    Over TLS names begin with ``__Host-`` (RFC 6265bis, 4.1.3.2): neither a page of a subdomain, which a
    workspace has, nor plain HTTP can set them. Browsers then want the path ``/``.
    """

    access: str
    refresh: str
    device: str
    auth_path: str


LEGACY = CookieNames("coditect_access", "coditect_refresh", "", "/api/v1/auth")
"""Those of an earlier release, which are cleared."""


class Origins:
    """Recognises our origins. ``secure``: browsers reach us over TLS, whatever the last hop looks like."""

    def __init__(self, public_url: str | None, *, secure: bool) -> None:
        self._public = parse(public_url) if public_url else None
        self._secure = secure

    def of(self, scheme: str, host: str) -> Origin | None:
        """Return the origin of a request, by its scheme and ``Host``."""
        reached = parse(f"{scheme}://{host}")
        public = self._public
        if public is None or reached is None or reached.host != public.host:
            return reached
        # A proxy may pass the public host on with its port, with its own, or without one.
        return public

    def admits(self, origin: str, scheme: str, host: str) -> bool:
        """Return whether a page of this ``Origin`` is ours, for a request to this host."""
        claimed = parse(origin)
        return claimed is not None and claimed in {self._public, self.of(scheme, host)}

    def cookies(self, scheme: str, host: str) -> CookieNames:
        """Return the names of the cookies for requests to this host."""
        origin = self.of(scheme, host)
        port = origin.port if origin else 0
        if self.is_secure(scheme, host):
            return _names("__Host-coditect", port, "/")
        return _names("coditect", port, "/api/v1/auth")

    def is_secure(self, scheme: str, host: str) -> bool:
        """Return whether browsers reach this host over TLS."""
        origin = self.of(scheme, host)
        return self._secure or (origin is not None and origin.scheme == "https")


def _names(start: str, port: int, auth_path: str) -> CookieNames:
    access, refresh, device = (f"{start}_{kind}_{port}" for kind in ("access", "refresh", "device"))
    return CookieNames(access, refresh, device, auth_path)
