"""What listens in a container, and with whom its owner shares it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from actors.core.records.base import Frozen, Record

MAX_LISTED = 128
"""The most ports that are listed of a container."""

MAX_PORTS = 64
"""The most ports that are shared of a session."""

MAX_LABEL = 64
Port = Annotated[int, Field(ge=1, le=65535)]


class Listening(Frozen):
    """A port that takes connections; its program as far as CODI may see it."""

    port: Port
    address: str = Field(max_length=64)
    pid: int | None = None
    program: str | None = Field(default=None, max_length=64)
    command: str | None = Field(default=None, max_length=200)

    @classmethod
    def all_of(cls, said: Iterable[Any]) -> tuple[Listening, ...]:
        """Read what a container says, up to ``MAX_LISTED``. Raises ValueError for what is none."""
        return tuple(cls.model_validate(each) for each in list(said)[:MAX_LISTED])


class Visibility(StrEnum):
    """Who may use a port: its owner, everybody with an account here, or everybody."""

    PRIVATE = "private"
    SIGNED_IN = "signed-in"
    PUBLIC = "public"


class PortShare(Frozen):
    """How a port is shared; ``wake``: its visitors wake the workspace. Raising ``links`` ends all links."""

    visibility: Visibility = Visibility.PRIVATE
    wake: bool = False
    label: str = Field(default="", max_length=MAX_LABEL)
    links: int = 0


class PortShares(Record):
    """``(tenant, "port_shares", session_id)``: the ports that are shared otherwise than privately."""

    shares: dict[Port, PortShare] = Field(default_factory=dict)

    def of(self, port: int) -> PortShare:
        """Return how a port is shared."""
        return self.shares.get(port, PortShare())
