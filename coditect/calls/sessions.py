"""Calls of sessions and their containers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from coditect import addresses
from coditect.connection import Connection, given, new_key
from coditect.errors import ConnectionFailed, from_refusal
from coditect.models import Container, Idle, Network, Session


class SessionCalls(Connection):
    """Calls of sessions and their containers."""

    async def sessions(self) -> list[Session]:
        """List the user's live sessions."""
        body = (await self._request("GET", "/api/v1/sessions")).json()
        return [Session.from_json(item) for item in body["sessions"]]

    async def open_session(self, name: str = "default", *, key: str | None = None) -> Session:
        """Open the session of that name: attach, resume or create."""
        answer = await self._request(
            "POST", "/api/v1/sessions", json={"name": name}, key=key or new_key()
        )
        return Session.from_json(answer.json())

    async def session(self, session_id: str) -> Session:
        """Return a session's details."""
        return Session.from_json((await self._request("GET", addresses.session(session_id))).json())

    async def end_session(self, session_id: str) -> None:
        """End the session and delete its workspace."""
        await self._request("DELETE", addresses.session(session_id), key=new_key())

    async def hibernate(self, session_id: str) -> Session:
        """Stop the container and keep the session."""
        answer = await self._request(
            "POST", addresses.session(session_id, "hibernate"), key=new_key()
        )
        return Session.from_json(answer.json())

    async def resume(self, session_id: str) -> Session:
        """Bring a hibernated session back."""
        answer = await self._request("POST", addresses.session(session_id, "resume"), key=new_key())
        return Session.from_json(answer.json())

    async def keep_awake(self, session_id: str, seconds: float) -> Idle:
        """Keep a session from hibernating by itself for some time from now; 0 takes that back."""
        answer = await self._request(
            "POST", addresses.session(session_id, "keep-awake"), json={"seconds": seconds}
        )
        return Idle.from_json(answer.json())

    async def network(self, session_id: str) -> Network:
        """Return what a session may reach outside, what it did today, and what was refused lately."""
        answer = await self._request("GET", addresses.session(session_id, "network"))
        return Network.from_json(answer.json())

    async def set_network(self, session_id: str, policy: str, allow: Sequence[str] = ()) -> Network:
        """Choose ``none``, ``allow-list`` (of ``name``, ``*.domain``, ``name:port``) or ``internet``.

        What is open and not allowed any more ends. Raises Forbidden beyond the server's limit.
        """
        answer = await self._request(
            "PUT",
            addresses.session(session_id, "network"),
            json={"policy": policy, "allow": list(allow)},
        )
        return Network.from_json(answer.json())

    async def patch_workspace_state(self, session_id: str, patch: Mapping[str, Any]) -> Session:
        """Merge into the session's ``workspace_state`` (RFC 7396)."""
        answer = await self._request(
            "PATCH",
            addresses.session(session_id),
            json={"workspace_state": dict(patch)},
            key=new_key(),
        )
        return Session.from_json(answer.json())

    async def containers(self) -> list[Container]:
        """List the containers of the user's sessions."""
        body = (await self._request("GET", "/api/v1/containers")).json()
        return [Container.from_json(item) for item in body["containers"]]

    async def launch_container(
        self, name: str | None = None, *, key: str | None = None
    ) -> Container:
        """Launch a container with a session of its own, or return that of the session so named."""
        answer = await self._request(
            "POST",
            "/api/v1/containers",
            json=given(name=name),
            key=key or new_key(),
        )
        return Container.from_json(answer.json())

    async def events(self, session_id: str) -> AsyncIterator[dict[str, Any]]:
        """Yield what happens to a session, as JSON objects with a ``type``, until the connection ends.

        Raises ConnectionFailed when it breaks; whoever goes on then asks for the session's details, as
        something may have been missed.
        """
        url = self._socket_url(addresses.session(session_id, "events"))
        try:
            async with connect(url, additional_headers=self._headers(), max_size=4 << 20) as socket:
                async for message in socket:
                    yield json.loads(message)
        except InvalidStatus as refused:
            raise from_refusal(refused) from refused
        except (OSError, TimeoutError, WebSocketException) as error:
            raise ConnectionFailed(url, str(error) or type(error).__name__) from error
