"""Bodies about ports."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from actors.core.records.ports import MAX_LABEL, Listening, PortShare, Visibility
from serve_app.schemas.base import Asked

MAX_LINK_SECONDS = 30 * 86400


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("printable characters")
    return text


class Port(BaseModel):
    """A port of a session: what listens on it, if anything does, and with whom it is shared."""

    port: int
    listening: bool
    address: str | None = Field(None, description="where its program listens inside")
    pid: int | None = None
    program: str | None = None
    command: str | None = None
    visibility: Visibility
    wake: bool
    label: str
    url: str = Field(description="its own origin, to be passed on; entered by whoever may use it")
    open_url: str = Field(description="leads somebody who is signed in here to it")

    @classmethod
    def of(
        cls, port: int, found: Listening | None, share: PortShare, *, url: str, open_url: str
    ) -> Port:
        """Return what is known of a port."""
        seen = found.model_dump(exclude={"port"}) if found is not None else {}
        shared = share.model_dump(exclude={"links"})
        return cls(
            port=port, listening=found is not None, url=url, open_url=open_url, **seen, **shared
        )


class Ports(BaseModel):
    """Ports of a session, in order: those that are listened on, and those that are shared."""

    ports: list[Port]


class PortChange(Asked):
    """What to change; absent fields stay."""

    visibility: Visibility | None = Field(
        None, description="private: its owner; signed-in: whoever has an account; public: everybody"
    )
    wake: bool | None = Field(None, description="whoever may use it wakes the sleeping workspace")
    label: Annotated[str, Field(max_length=MAX_LABEL), AfterValidator(_printable)] | None = None


class NewPortLink(Asked):
    """A link to make."""

    seconds: int = Field(86400, ge=60, le=MAX_LINK_SECONDS, description="for which it lasts")


class PortLink(BaseModel):
    """A link that lets in whoever has it."""

    url: str
    expires_at: float


class PortStopped(BaseModel):
    """What came of ending a program."""

    stopped: bool = Field(description="false: it listens still")
