"""Bodies of accounts, their usage and quotas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from actors.core.errors.requests import InvalidArgument
from actors.core.quotas import Resource, Usage
from actors.core.records.accounts import Role, UserRecord
from cluster.emails import prepare
from serve_app.schemas.auth import NewPassword
from serve_app.schemas.base import Asked, Used, shared

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# What anybody can write; of other scripts (RFC 6531) more is taken than a pattern can say.
_ASCII_EMAIL = rf"^[!-?A-~]{{1,64}}@{_LABEL}(\.{_LABEL})?$"


def _prepared(email: str) -> str:
    try:
        return prepare(email).shown
    except InvalidArgument as error:
        raise ValueError(error.reason) from None


Email = Annotated[
    str,
    Field(
        max_length=254, examples=["ada@example.com"], json_schema_extra={"pattern": _ASCII_EMAIL}
    ),
    AfterValidator(_prepared),
]
Limit = Annotated[int | None, Field(ge=0, lt=1 << 60)]


class UsageOf(BaseModel):
    """Use of a user's quotas, over all sessions, and their limits.

    ``files`` are files, directories and links that are archived, ``file_bytes`` their contents;
    ``journal_bytes`` is kept output of terminals. The oldest output goes when it is too much; of files
    what is too much is not archived. ``variables`` are variables and secrets, ``variable_bytes`` their
    names and values.
    """

    file_bytes: Used
    files: Used
    journal_bytes: Used
    containers: Used
    sessions: Used
    variables: Used
    variable_bytes: Used

    @classmethod
    def of(cls, usage: Mapping[Resource, Usage]) -> UsageOf:
        """Return what is known."""
        return cls(
            **{each.value: Used(used=used, limit=limit) for each, (used, limit) in usage.items()}
        )


class QuotaChange(Asked):
    """Limits of one user. 0: unlimited; null: as the server's settings say."""

    file_bytes: Limit = None
    files: Limit = None
    journal_bytes: Limit = None
    containers: Limit = None
    sessions: Limit = None
    variables: Limit = None
    variable_bytes: Limit = None

    def changes(self) -> dict[Resource, int | None]:
        """Return what was sent."""
        return {Resource(name): getattr(self, name) for name in self.model_fields_set}


class User(BaseModel):
    """An account. ``quotas``: limits of its own; ``usage`` is there where an answer says so."""

    user_id: str
    email: str
    role: Role
    disabled: bool
    created_at: float
    quotas: dict[str, int] = {}
    usage: UsageOf | None = None

    @classmethod
    def of(
        cls,
        record: UserRecord,
        quotas: Mapping[str, int] | None = None,
        usage: Mapping[Resource, Usage] | None = None,
    ) -> User:
        """Return what may be shown of an account."""
        return cls(
            quotas=dict(quotas or {}),
            usage=None if usage is None else UsageOf.of(usage),
            **shared(record, cls),
        )


class Users(BaseModel):
    """A page of accounts; ask again with ``after`` = ``next``."""

    users: list[User]
    next: str | None = None


class NewUser(Asked):
    """An account to make."""

    email: Email
    password: NewPassword
    role: Role = Role.USER


class UserChange(Asked):
    """A change of an account; what is left out stays."""

    password: NewPassword | None = None
    role: Role | None = None
    disabled: bool | None = None
    quotas: QuotaChange | None = None
