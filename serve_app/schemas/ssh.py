"""Bodies of SSH keys, and of where SSH is spoken."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from actors.core.records.accounts import SshKeyRecord
from serve_app.schemas.base import Asked, shared

MAX_TEXT = 8192
MAX_NAME = 100
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ada@laptop"


class NewSshKey(Asked):
    """A public key to add: the line of a ``.pub`` file. ``name``: its comment when left out."""

    key: Annotated[str, Field(min_length=1, max_length=MAX_TEXT, examples=[_KEY])]
    name: Annotated[str | None, Field(max_length=MAX_NAME, examples=["laptop"])] = None


class SshKey(BaseModel):
    """A public key of an account. Times are Unix seconds."""

    key_id: str
    name: str
    public_key: str
    fingerprint: str
    created_at: float
    last_used_at: float | None

    @classmethod
    def of(cls, record: SshKeyRecord) -> SshKey:
        """Return what the owner sees of a key."""
        return cls(**shared(record, cls))


class SshKeys(BaseModel):
    """An account's public keys, oldest first."""

    keys: list[SshKey]


class SshServer(BaseModel):
    """The SSH server: where it listens (``port`` null: it is starting) and the key by which it is known."""

    host: str
    port: int | None
    host_key: str
    fingerprint: str
