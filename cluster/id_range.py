"""The user ids that containers may have outside. What takes them is ``user_ids.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IdRange:
    """``count`` ids from ``first``, as a line of subuid(5) gives them.

    The first one owns the files of workspaces on disk, and no process ever has it. Each container has
    two of the others: its user's in the lower half, its agent's as far up in the upper one.
    """

    first: int
    count: int

    @classmethod
    def parse(cls, text: str) -> IdRange:
        """Parse ``FIRST:COUNT``. Raises ValueError with what is allowed."""
        match = re.fullmatch(r"(\d{1,10}):(\d{1,10})", text)
        if match is None:
            raise ValueError("FIRST:COUNT, as in /etc/subuid")
        found = cls(int(match[1]), int(match[2]))
        if found.first < 1000 or found.count < 3 or found.first + found.count > 2**31:
            raise ValueError("three ids or more, from 1000 to 2147483647")
        return found

    @property
    def on_disk(self) -> int:
        """The owner of workspaces' files on disk."""
        return self.first

    @property
    def ids(self) -> range:
        """All of them."""
        return range(self.first, self.first + self.count)

    @property
    def containers(self) -> int:
        """The number of containers that can have ids at once."""
        return (self.count - 1) // 2

    def agent(self, user: int) -> int:
        """Return the id of the agent that belongs to a container's user."""
        return user + self.containers

    def after(self, start: int) -> Iterator[int]:
        """Yield every id that a container may have, beginning somewhere."""
        choices = self.containers
        for step in range(choices):
            yield self.first + 1 + (start + step) % choices


DEFAULT_RANGE = IdRange(1_900_000_000, 65_536)
"""Above every range of systemd (uids-gids.7) and below 2**31."""
