"""What an instance runs, and what the emulator asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class StartFailed(Exception):
    """A container that did not start; the argument says why."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order to start a container. ``port`` is where its program is to listen, inside."""

    instance_id: str
    image: str
    cpu: float
    memory_bytes: int
    port: int
    env: Mapping[str, str] = field(default_factory=dict)
    args: Sequence[str] = ()


class Program(Protocol):
    """A running container. ``address`` is host:port, from where its port is reached."""

    @property
    def address(self) -> str:
        """Where it answers."""
        ...

    async def wait(self) -> str:
        """Return the reason when it has ended. Cancellable."""
        ...

    async def stop(self, grace_seconds: float) -> None:
        """Send SIGTERM, kill it after the grace time, and remove its disk. Idempotent."""
        ...

    async def freeze(self) -> None:
        """Take its processors away."""
        ...

    async def thaw(self) -> None:
        """Give them back."""
        ...


class Programs(Protocol):
    """Starts containers."""

    async def start(self, order: Order) -> Program:
        """Start a container, with an empty disk. Raises StartFailed with nothing left behind."""
        ...
