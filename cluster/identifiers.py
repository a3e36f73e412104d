"""Random identifiers and secrets."""

from __future__ import annotations

import secrets
from base64 import b32encode


def new_id(prefix: str) -> str:
    """Return ``prefix-`` and 100 random bits in lower-case base 32: safe in paths, names and URLs."""
    return f"{prefix}-{b32encode(secrets.token_bytes(13)).decode().rstrip('=').lower()[:20]}"


def new_secret() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(32)
