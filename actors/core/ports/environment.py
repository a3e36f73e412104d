"""What the programs of a session are started with, beside what its container sets."""

from __future__ import annotations

from typing import Protocol

from actors.core.records.environment import Environment


class Environments(Protocol):
    """Reads environments: ``cluster.secrets.environments.StoredEnvironments``."""

    async def version(self, session_id: str) -> int:
        """Return which version a session's programs are to have; 0: there is nothing to have.

        Raises NotFound, Unavailable.
        """
        ...

    async def current(self, session_id: str) -> Environment:
        """Return what a session's programs are to find. Raises NotFound, Unavailable.

        A secret that does not open is left out.
        """
        ...

    async def note_dotfiles(self, session_id: str) -> None:
        """Note that the container was given the repository that ``current`` named."""
        ...
