"""What of a request reaches the program inside, and what of its answer the browser (RFC 9110, 7.6). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from serve_app.ports.hosts import Translation

Field = tuple[bytes, bytes]

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# What the program would believe of the visitor, and what only concerns the way to us.
_SAID_BY_US = frozenset(
    {
        b"host",
        b"expect",
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-forwarded-prefix",
        b"x-forwarded-server",
        b"x-request-disconnect-disabled",
    }
)
_OF_THE_SOCKET = b"sec-websocket-"
# What reaches beyond an origin: other ports of its host, other sessions, the platform, the way here.
_BEYOND = frozenset(
    {
        b"alt-svc",
        b"clear-site-data",
        b"nel",
        b"public-key-pins",
        b"report-to",
        b"reporting-endpoints",
        b"strict-transport-security",
    }
)
# Below the platform's own origin also what a browser keeps for that, or sends it.
_OF_THE_PLATFORM = frozenset({b"accept-ch", b"authorization", b"www-authenticate"})
SANDBOX = b"sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads"
"""What a page may do that is served under the platform's own origin: nothing as that."""


def inward(
    fields: Iterable[Field],
    translation: Translation,
    *,
    client: str,
    cookies: frozenset[str],
    sandboxed: bool = False,
    socket: bool = False,
) -> list[Field]:
    """Return what the program gets. ``cookies`` names those of ours, which it does not.

    The program is spoken to as ``localhost``, which it knows: development servers refuse any other name.
    It is not told the outer one, or it would compare that with the ``Origin``.
    """
    given = list(fields)
    dropped = _HOP_BY_HOP | _SAID_BY_US | _named_by_connection(given)
    if sandboxed:
        dropped |= _OF_THE_PLATFORM
    kept: list[Field] = [(b"host", f"localhost:{translation.host.port}".encode())]
    for raw, value in given:
        name = raw.lower()
        if name in dropped or (socket and name.startswith(_OF_THE_SOCKET)):
            continue
        if name == b"cookie":
            said = b"" if sandboxed else _without(value, cookies)
            if said:
                kept.append((name, said))
        elif name == b"origin":
            kept.append((name, _mapped(translation.inward, value)))
        elif name == b"referer":
            kept.append((name, _referer(translation, value)))
        else:
            kept.append((name, value))
    if any(name.lower() == b"transfer-encoding" for name, _ in given):
        kept = [field for field in kept if field[0] != b"content-length"]
        kept.append((b"transfer-encoding", b"chunked"))
    address = client.encode("latin-1", "replace")
    return [*kept, (b"x-forwarded-for", address), (b"x-real-ip", address)]


def outward(
    fields: Iterable[Field],
    translation: Translation,
    *,
    cookies: frozenset[str],
    prefix: str | None = None,
) -> list[Field]:
    """Return what the browser gets. With a ``prefix`` the page is served sandboxed below it."""
    given = list(fields)
    dropped = _HOP_BY_HOP | _BEYOND | _named_by_connection(given)
    if prefix is not None:
        dropped |= _OF_THE_PLATFORM
    kept: list[Field] = []
    for raw, value in given:
        name = raw.lower()
        if name in dropped:
            continue
        if name == b"set-cookie":
            cookie = None if prefix is not None else host_only(value, cookies)
            if cookie is not None:
                kept.append((name, cookie))
        elif name in {b"location", b"content-location"}:
            kept.append((name, _location(translation, prefix, value)))
        elif name == b"access-control-allow-origin":
            kept.append((name, _mapped(translation.outward, value)))
        elif name != b"service-worker-allowed" or prefix is None:
            kept.append((name, value))
    if prefix is not None:
        kept += [(b"content-security-policy", SANDBOX), (b"referrer-policy", b"no-referrer")]
    elif not any(name == b"origin-agent-cluster" for name, _ in kept):
        kept.append((b"origin-agent-cluster", b"?1"))  # document.domain joins no origins
    return kept


def host_only(value: bytes, cookies: frozenset[str]) -> bytes | None:
    """Return a ``Set-Cookie`` that stays with its origin; None for one that would replace one of ours."""
    pair, *attributes = value.split(b";")
    name = pair.partition(b"=")[0].strip().decode("latin-1")
    if name in cookies or not pair.strip():
        return None
    kept = [each for each in attributes if each.partition(b"=")[0].strip().lower() != b"domain"]
    return b";".join([pair, *kept])


def is_navigation(method: str, headers: Mapping[str, str]) -> bool:
    """Return whether a person goes to a page, so that they can be led somewhere else."""
    if method not in {"GET", "HEAD"}:
        return False
    mode = headers.get("sec-fetch-mode")
    if mode is not None:
        return mode == "navigate"
    return "text/html" in headers.get("accept", "")


def is_foreign(method: str, headers: Mapping[str, str], translation: Translation) -> bool:
    """Return whether a page asks that is none of this session's, other than by a link that leads here.

    Ports of all sessions are of one *site*, so cookies that are ``SameSite`` come along with such a request.
    """
    origin = headers.get("origin")
    if origin is None:
        if headers.get("sec-fetch-site", "none") in {"none", "same-origin"}:
            return False
        if is_navigation(method, headers):
            return False
        origin = "/".join(headers.get("referer", "").split("/", 3)[:3])
    return translation.inward(origin) == origin


def _named_by_connection(fields: Iterable[Field]) -> frozenset[bytes]:
    named = (value for name, value in fields if name.lower() == b"connection")
    return frozenset(each.strip().lower() for value in named for each in value.split(b","))


def _without(value: bytes, cookies: frozenset[str]) -> bytes:
    pairs = [pair.strip() for pair in value.split(b";")]
    kept = [
        pair
        for pair in pairs
        if pair and pair.partition(b"=")[0].strip().decode("latin-1") not in cookies
    ]
    return b"; ".join(kept)


def _mapped(change: Callable[[str], str], value: bytes) -> bytes:
    return change(value.decode("latin-1")).encode("latin-1")


def _referer(translation: Translation, value: bytes) -> bytes:
    text = value.decode("latin-1")
    parts = text.split("/", 3)
    if len(parts) < 4:
        return value
    origin = translation.inward("/".join(parts[:3]))
    return f"{origin}/{parts[3]}".encode("latin-1")


def _location(translation: Translation, prefix: str | None, value: bytes) -> bytes:
    text = value.decode("latin-1")
    moved = translation.outward(text)
    if prefix is not None:
        own = translation.origin()
        if moved == own or moved.startswith(f"{own}/"):
            moved = moved[len(own) :] or "/"
        if moved.startswith("/") and not moved.startswith("//"):
            moved = prefix + moved
    return moved.encode("latin-1")
