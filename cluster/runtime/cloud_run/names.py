"""Names and labels of what runs on Cloud Run: safe, unique, and short enough. Pure.

A service's name has up to 49 characters: lower-case letters, digits and hyphens, a letter first and no
hyphen last. Users' ids have other letters, and a user may have several sessions, so that a digest of the
container's id and secret makes it unique: a container that is launched anew never meets the former one.
"""

from __future__ import annotations

import re
from hashlib import blake2b, sha256

LONGEST_NAME = 49
LONGEST_LABEL = 63
_DIGEST_BYTES = 8

NODE, CONTAINER, TENANT, MANAGED_BY = (
    "coditect-node",
    "coditect-container",
    "coditect-tenant",
    "managed-by",
)
OWNER = "coditect"
ANNOTATIONS = "coditect.dev"


def service_name(container_id: str, secret: str, user_id: str | None) -> str:
    """Return the name of a container's service, or instance: of a user, or warm for whoever comes."""
    digest = blake2b(f"{container_id}\0{secret}".encode(), digest_size=_DIGEST_BYTES).hexdigest()
    if user_id is None:
        return f"warm-{digest}"
    room = LONGEST_NAME - len("user--") - len(digest)
    readable = re.sub("[^a-z0-9]+", "-", user_id.lower())[:room].strip("-")
    return f"user-{readable}-{digest}" if readable else f"user-{digest}"


def label(value: str) -> str:
    """Return a label's value for an id: itself where it may be one, else its beginning and a digest."""
    if re.fullmatch(f"[a-z0-9_-]{{1,{LONGEST_LABEL}}}", value):
        return value
    digest = blake2b(value.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    readable = re.sub("[^a-z0-9_-]+", "-", value.lower())[: LONGEST_LABEL - len(digest) - 1]
    return f"{readable}-{digest}"


def secret_digest(secret: str) -> str:
    """Return what CODI knows its callers by: whoever reads a service's definition learns no secret."""
    return sha256(secret.encode()).hexdigest()
