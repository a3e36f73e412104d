"""What conditional requests are made of."""

from __future__ import annotations

BODY = b"0123456789"
EARLIER, LATER = "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 31 Dec 2100 23:59:59 GMT"


def with_etag(fields: dict[str, str], etag: str) -> dict[str, str]:
    """Return header fields with the etag for ``ETAG``."""
    return {name: value.replace("ETAG", etag) for name, value in fields.items()}
