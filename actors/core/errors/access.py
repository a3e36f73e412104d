"""Errors of who asks: not known, or not allowed."""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors.base import CoditectError


@dataclass(eq=False)
class Unauthenticated(CoditectError):
    """The caller did not prove who they are."""

    code = "unauthenticated"
    text = "{reason}"

    reason: str = "sign in first"


class TokenReused(Unauthenticated):
    """A refresh token was used again after its time: somebody has a copy, and the login has ended."""

    def __init__(self, user_id: str, family: str) -> None:
        super().__init__("the refresh token is not valid any more; sign in again")
        self.args = (user_id, family)
        self.user_id = user_id
        self.family = family


@dataclass(eq=False)
class PermissionDenied(CoditectError):
    """The caller is known and may not do this."""

    code = "permission_denied"
    text = "not allowed: {action}"

    action: str


@dataclass(eq=False)
class WrongPassword(PermissionDenied):
    """A signed-in caller does not know the password that is to be changed."""

    code = "wrong_password"

    action: str = "the current password is wrong"
