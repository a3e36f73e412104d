"""Somebody with an account on a server under test."""

from __future__ import annotations

from dataclasses import dataclass

from coditect import AsyncClient, Login

PASSWORD = "a password of some length"


@dataclass
class Person:
    """Somebody with an account, signed in."""

    email: str
    client: AsyncClient
    login: Login

    @property
    def session_id(self) -> str:
        """The session that the login opened."""
        return self.login.session_id
