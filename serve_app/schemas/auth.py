"""Bodies of signing in, and of passwords."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from serve_app.schemas.base import Asked

MIN_PASSWORD = 4  # ADR 9.2 signs in with one of four
MAX_PASSWORD = 1024
Password = Annotated[
    str, Field(min_length=1, max_length=MAX_PASSWORD, examples=["correct horse battery staple"])
]
NewPassword = Annotated[
    str,
    Field(
        min_length=MIN_PASSWORD, max_length=MAX_PASSWORD, json_schema_extra={"pattern": "^[ -~]*$"}
    ),
]


class Credentials(Asked):
    """An address and a password to sign in with."""

    email: Annotated[str, Field(min_length=1, max_length=254, examples=["ada@example.com"])]
    password: Password


class PasswordChange(Asked):
    """A new password for the account of whoever asks."""

    current_password: Password
    new_password: NewPassword


class Providers(BaseModel):
    """Names of identity providers that people may sign in with, and whether login cookies were sent."""

    providers: list[str]
    signed_in: bool


class Presented(Asked):
    """A refresh token; browsers leave it out, since their cookie has it."""

    refresh_token: str | None = Field(None, max_length=256)


class Tokens(BaseModel):
    """A pair of tokens. ``expires_in`` is the life of the access token in seconds."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a scheme, not a secret
    expires_in: float


class LoggedIn(Tokens):
    """A successful login; the user's session is there or on its way (``container_status``).

    ``ticket`` opens one socket within 30 s.
    """

    session_id: str
    workspace_url: str
    container_status: str
    ticket: str


class Ticket(BaseModel):
    """A ticket for one socket: ``?ticket=…``, once and soon."""

    ticket: str
    expires_in: float
