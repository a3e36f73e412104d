"""Calls for administrators, and the probes that need no login."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from coditect import addresses
from coditect.connection import Connection, given, new_key
from coditect.errors import ServerBusy
from coditect.models import Backups, Container, Node, Session, User


class AdminCalls(Connection):
    """Calls for administrators, and the probes that need no login."""

    async def create_user(self, email: str, password: str, role: str = "user") -> User:
        """Create a user (administrators only)."""
        body = {"email": email, "password": password, "role": role}
        return User.from_json((await self._request("POST", "/api/admin/users", json=body)).json())

    async def users(self, *, email: str | None = None) -> AsyncIterator[User]:
        """Yield accounts, all or that of an address, with what they may have (administrators only)."""
        async for each in self._pages("/api/admin/users", "users", email=email):
            yield User.from_json(each)

    async def change_user(
        self,
        user_id: str,
        *,
        password: str | None = None,
        role: str | None = None,
        disabled: bool | None = None,
    ) -> User:
        """Change what is given of an account (administrators only).

        ``disabled`` ends its logins, and False lets it sign in again.
        """
        answer = await self._request(
            "PATCH",
            f"/api/admin/users/{addresses.segment(user_id, 'user_id')}",
            json=given(password=password, role=role, disabled=disabled),
            key=new_key(),
        )
        return User.from_json(answer.json())

    async def disable_user(self, user_id: str) -> None:
        """Let nobody sign in with an account any more; what it has is kept (administrators only)."""
        await self._request(
            "DELETE", f"/api/admin/users/{addresses.segment(user_id, 'user_id')}", key=new_key()
        )

    async def set_quotas(self, /, user_id: str, **limits: int | None) -> User:
        """Set limits of one user (administrators only).

        ``limits``: ``file_bytes``, ``files``, ``journal_bytes``, ``containers``, ``sessions``,
        ``variables``, ``variable_bytes``; 0 is
        unlimited, None what the server's settings say.
        """
        answer = await self._request(
            "PATCH",
            f"/api/admin/users/{addresses.segment(user_id, 'user_id')}",
            json={"quotas": limits},
            key=new_key(),
        )
        return User.from_json(answer.json())

    async def is_alive(self) -> bool:
        """Check that the server answers; needs no login. Raises ConnectionFailed when it is out of reach."""
        await self._request("GET", "/healthz", signed=False)
        return True

    async def is_ready(self) -> bool:
        """Return whether the server can serve people now; needs no login."""
        try:
            await self._request("GET", "/readyz", signed=False)
        except ServerBusy:
            return False
        return True

    async def health(self) -> dict[str, Any]:
        """Return how every component of the server is; needs no login.

        Raises ServerBusy when a vital one is down; its ``problem`` is the same document.
        """
        answer = await self._request("GET", "/api/admin/health", signed=False)
        body: dict[str, Any] = answer.json()
        return body

    async def metrics(self) -> str:
        """Return all metrics of the server in Prometheus' text format (administrators only)."""
        return (await self._request("GET", "/api/admin/metrics")).text

    async def all_sessions(self) -> AsyncIterator[Session]:
        """Yield the live sessions of all users (administrators only)."""
        async for each in self._pages("/api/admin/sessions", "sessions"):
            yield Session.from_json(each)

    async def all_containers(self) -> list[Container]:
        """List all containers that have not been stopped (administrators only)."""
        body = (await self._request("GET", "/api/admin/containers")).json()
        return [Container.from_json(item) for item in body["containers"]]

    async def nodes(self) -> list[Node]:
        """List the machines of the server, the head first (administrators only)."""
        body = (await self._request("GET", "/api/admin/nodes")).json()
        return [Node.from_json(item) for item in body["nodes"]]

    async def drain_node(self, node_id: str) -> list[Node]:
        """Have a node's sessions moved to others; it then leaves (administrators only). Returns at once."""
        path = f"/api/admin/nodes/{addresses.segment(node_id, 'node_id')}/drain"
        body = (await self._request("POST", path, key=new_key())).json()
        return [Node.from_json(item) for item in body["nodes"]]

    async def overview(self) -> dict[str, Any]:
        """Return what operators see of the whole server (administrators only)."""
        body: dict[str, Any] = (await self._request("GET", "/api/admin/overview")).json()
        return body

    async def backups(self) -> Backups:
        """Return the backups of the server, and what is being made (administrators only)."""
        return Backups.from_json((await self._request("GET", "/api/admin/backups")).json())

    async def start_backup(self) -> Backups:
        """Have a backup of the server made, unless one is (administrators only)."""
        answer = await self._request("POST", "/api/admin/backups", key=new_key())
        return Backups.from_json(answer.json())

    async def audit(
        self,
        limit: int = 100,
        *,
        before: str | None = None,
        after: str | None = None,
        user_id: str | None = None,
        action: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return lines of the audit trail, newest first (administrators only).

        The newest, or those ``before`` a line, or the next ones ``after`` it, by its ``id``; of one user,
        or one action or family of them (``exec``, ``file``).
        """
        wanted = given(limit=limit, before=before, after=after, user_id=user_id, action=action)
        answer = await self._request("GET", "/api/admin/audit", params=wanted)
        lines: list[dict[str, Any]] = answer.json()["entries"]
        return lines

    async def _pages(self, path: str, name: str, **wanted: str | None) -> AsyncIterator[Any]:
        after: str | None = None
        while True:
            parameters = given(after=after, **wanted)
            body = (await self._request("GET", path, params=parameters)).json()
            for each in body[name]:
                yield each
            after = body.get("next")
            if after is None:
                return
