"""Calls of ports: what listens inside, with whom it is shared, and the way to it."""

from __future__ import annotations

from typing import Literal

from coditect import addresses
from coditect.connection import Connection, given, new_key
from coditect.forward import AsyncPortForward
from coditect.models import Port, PortLink


class PortCalls(Connection):
    """Calls of ports."""

    async def ports(self, session_id: str) -> list[Port]:
        """List the ports that are listened on, and those that are shared."""
        body = (await self._request("GET", addresses.session(session_id, "ports"))).json()
        return [Port.from_json(item) for item in body["ports"]]

    async def port(self, session_id: str, port: int) -> Port:
        """Return what is known of a port, whether or not anything listens on it."""
        return Port.from_json((await self._request("GET", _place(session_id, port))).json())

    async def share_port(
        self,
        session_id: str,
        port: int,
        *,
        visibility: Literal["private", "signed-in", "public"] | None = None,
        wake: bool | None = None,
        label: str | None = None,
    ) -> Port:
        """Change with whom a port is shared. ``wake``: whoever may use it wakes the sleeping workspace."""
        answer = await self._request(
            "PATCH",
            _place(session_id, port),
            json=given(visibility=visibility, wake=wake, label=label),
            key=new_key(),
        )
        return Port.from_json(answer.json())

    async def stop_port(self, session_id: str, port: int) -> bool:
        """End the program that listens on a port; return whether it listens no more."""
        answer = await self._request("DELETE", _place(session_id, port))
        return bool(answer.json()["stopped"]) if answer.content else True

    async def port_link(self, session_id: str, port: int, *, seconds: int = 86400) -> PortLink:
        """Make a link that lets in whoever has it, until it expires."""
        answer = await self._request(
            "POST", _place(session_id, port, "/link"), json={"seconds": seconds}, key=new_key()
        )
        return PortLink.from_json(answer.json())

    async def end_port_links(self, session_id: str, port: int) -> None:
        """End all links to a port."""
        await self._request("DELETE", _place(session_id, port, "/link"), key=new_key())

    async def forward_port(
        self, session_id: str, port: int, *, local_port: int = 0, host: str = "127.0.0.1"
    ) -> AsyncPortForward:
        """Listen on this machine and carry each connection to a port in the workspace; close it.

        ``local_port`` 0: a free one, ``AsyncPortForward.port``. Raises OSError when it is taken.
        """
        url = self._socket_url(_place(session_id, port, "/tcp"))
        forward = AsyncPortForward(self, url)
        await forward.listen(host, local_port)
        self._attached.add(forward)
        return forward


def _place(session_id: str, port: int, rest: str = "") -> str:
    return addresses.session(session_id, f"ports/{int(port)}{rest}")
