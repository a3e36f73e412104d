"""The server's own key: Ed25519, made once and kept in the store, so that clients know it for ever."""

from __future__ import annotations

from serve_app.dependencies import Keys

HOST_KEY = "ssh-host-ed25519"


async def load(keys: Keys) -> bytes:
    """Return the private key as OpenSSH writes it; the first caller's is kept for all."""
    return await keys.get_or_create(HOST_KEY, _make)


def public_line(private: bytes) -> str:
    """Return ``ssh-ed25519 base64`` of a private key."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - of few requests

    key = serialization.load_ssh_private_key(private, None)
    public = serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, public).decode()


def _make() -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
