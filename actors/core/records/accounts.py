"""Accounts, their refresh tokens and SSH keys, and the audit trail."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import model_validator

from actors.core.records.base import Record


class Role(StrEnum):
    """Roles of users. ``ADMIN`` includes everything ``USER`` may."""

    USER = "user"
    ADMIN = "admin"


class UserRecord(Record):
    """A person or service account. ``password_hash`` is argon2id in PHC form.

    A login is of the ``generation`` that the account had when it began. Every change of who may do
    what with the account raises that number, which ends all logins but ``kept_login``, the one by
    which the change was made.
    """

    user_id: str
    tenant_id: str
    email: str
    role: Role = Role.USER
    password_hash: str
    created_at: float
    disabled: bool = False
    generation: int = 0
    kept_login: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_earlier_release(cls, data: Any) -> Any:
        """Take over what said that logins had ended before there were generations."""
        if isinstance(data, dict) and data.get("logins_since") and "generation" not in data:
            return data | {"generation": 1}
        return data

    def admits(self, login: str, generation: int) -> bool:
        """Return whether a login of that generation goes on."""
        return not self.disabled and (generation == self.generation or login == self.kept_login)


class RefreshTokenRecord(Record):
    """One refresh token, by hash. A family is all the successors of one login.

    ``successor`` is the id of the token that replaced it, ``replaced_at`` when: a second use
    within the overlap returns the same successor, one after it revokes the family.
    ``successor_secret`` is the successor's secret, encrypted with the presented token as key, so
    that only whoever holds the old token can be given the same successor again. ``generation`` is
    the account's when the login began.
    """

    token_id: str
    tenant_id: str
    family_id: str
    user_id: str
    secret_hash: str
    created_at: float
    expires_at: float
    replaced_at: float | None = None
    successor_id: str | None = None
    successor_secret: str | None = None
    revoked: bool = False
    generation: int = 0


class SshKeyRecord(Record):
    """A public key with which an account signs in by SSH.

    ``public_key`` is ``algorithm base64``, ``fingerprint`` as OpenSSH prints it (``SHA256:…``). What is
    signed in by it is the login ``key_id``, which ends when the key is removed.
    """

    key_id: str
    tenant_id: str
    user_id: str
    name: str
    public_key: str
    fingerprint: str
    created_at: float
    last_used_at: float | None = None


class AuditEntry(Record):
    """One line of the audit trail (ADR 10.4); ``count``: how many like it the line stands for."""

    timestamp: float
    tenant_id: str
    user_id: str | None
    action: str
    resource: str
    ip_address: str | None = None
    user_agent: str | None = None
    result: str = "ok"
    count: int = 1

    @model_validator(mode="before")
    @classmethod
    def _from_earlier_release(cls, data: Any) -> Any:
        if isinstance(data, dict) and "at" in data and "timestamp" not in data:
            return data | {"timestamp": data["at"]}
        return data
