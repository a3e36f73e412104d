"""Calls of whoever signs in: login, password, tickets."""

from __future__ import annotations

from coditect.connection import Connection, new_key
from coditect.models import Login, User


class AccountCalls(Connection):
    """Calls of whoever signs in: login, password, tickets."""

    async def login(self, email: str, password: str) -> Login:
        """Sign in and open the user's session."""
        answer = await self._request(
            "POST",
            "/api/v1/auth/login",
            json={"email": email, "password": password},
            signed=False,
            key=new_key(),
        )
        login = Login.from_json(answer.json())
        self.access_token, self.refresh_token = login.access_token, login.refresh_token
        return login

    async def logout(self) -> None:
        """Revoke this login's tokens; the session goes on."""
        body = {"refresh_token": self.refresh_token} if self.refresh_token else {}
        await self._request("POST", "/api/v1/auth/logout", json=body)
        self.access_token = self.refresh_token = None

    async def me(self) -> User:
        """Return who is signed in, what they have and may have (``usage``)."""
        return User.from_json((await self._request("GET", "/api/v1/auth/me")).json())

    async def change_password(self, current_password: str, new_password: str) -> None:
        """Change one's own password: all other logins of the account end, this one goes on.

        Raises Forbidden with the code ``wrong_password`` when the current one is not right.
        """
        body = {"current_password": current_password, "new_password": new_password}
        await self._request("POST", "/api/v1/auth/password", json=body)

    async def providers(self) -> list[str]:
        """List the ways to sign in other than by password."""
        answer = await self._request("GET", "/api/v1/auth/providers", signed=False)
        names: list[str] = answer.json()["providers"]
        return names

    async def ticket(self) -> str:
        """Return a ticket that opens one socket within 30 s: ``?ticket=…``, for who can set no header."""
        return str((await self._request("POST", "/api/v1/auth/ticket")).json()["ticket"])
