"""Reads public keys as people paste them: one line of ``authorized_keys`` (sshd(8)) without options."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any

from actors.core.errors.requests import InvalidArgument
from serve_app.schemas.ssh import MAX_TEXT

ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
MIN_RSA_BITS = 3072
MAX_RSA_BITS = 16384


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key as it is kept: ``line`` is ``algorithm base64``, ``comment`` what stood behind it."""

    algorithm: str
    line: str
    fingerprint: str
    comment: str


def parse(text: str) -> PublicKey:
    """Return the key of a line. Raises InvalidArgument, which says what is wrong with it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "PRIVATE KEY" in text:
        raise _wrong(
            "this is a private key: it belongs to nobody but you; add the .pub file beside it"
        )
    if len(lines) != 1 or len(text) > MAX_TEXT:
        raise _wrong(f"one line of up to {MAX_TEXT} characters, as in ~/.ssh/id_ed25519.pub")
    algorithm, _, rest = lines[0].partition(" ")
    encoded, _, comment = rest.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise _wrong(_why_not(algorithm, lines[0]))
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong("the second word is not base64") from None
    _check(algorithm, blob)
    line = f"{algorithm} {base64.b64encode(blob).decode()}"
    comment = "".join(char for char in comment.strip() if char.isprintable())
    return PublicKey(algorithm, line, fingerprint_of(blob), comment)


def fingerprint_of(blob: bytes) -> str:
    """Return a key's fingerprint as OpenSSH prints it."""
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


def _wrong(reason: str) -> InvalidArgument:
    return InvalidArgument("key", reason)


def _why_not(algorithm: str, line: str) -> str:
    if "-cert-v01@" in algorithm:
        return "certificates are not taken: add the key itself"
    if algorithm == "ssh-dss":
        return "DSA keys are too weak: make one with ssh-keygen -t ed25519"
    if any(f"{name} " in line for name in ALGORITHMS):
        return "options before a key are not taken"
    return f"begins with one of {', '.join(ALGORITHMS)}"


def _check(algorithm: str, blob: bytes) -> None:
    """Check that a blob is a strong key of that algorithm, to the last byte."""
    # Imported here: no other request of an ingress replica needs it.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key  # noqa: PLC0415

    line = f"{algorithm} {base64.b64encode(blob).decode()}"
    try:
        key: Any = load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise _wrong(f"it is no key of {algorithm}") from None
    if isinstance(key, RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise _wrong(f"RSA keys have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, not {key.key_size}")
        if key.public_numbers().e < 65537:
            raise _wrong("RSA keys have an exponent of 65537 or more")
