"""Feeds: what there is with the order of its changes, for those who need all of it all the time."""

from __future__ import annotations

from typing import Protocol, TypeVar

from actors.core.records.containers import ContainerRecord
from actors.core.records.sessions import SessionRecord
from actors.core.view import News, Question

R = TypeVar("R")


class Feed(Protocol[R]):
    """Records of a kind with the order of their changes; see ``actors.core.view``."""

    async def read(self, question: Question) -> News[R]:
        """Return what a view lacks, all of it as of one moment. Raises Unavailable, DeadlineExceeded."""
        ...

    async def wait(self, place: bytes | None, seconds: float) -> None:
        """Return when there are changes after a place, at the latest after some seconds, or sooner.

        Raises Unavailable, Busy.
        """
        ...


class Feeds(Protocol):
    """The feeds of a ledger."""

    def container_feed(self, node_id: str) -> Feed[ContainerRecord]:
        """Return the containers of a node that are not stopped."""
        ...

    def session_feed(self) -> Feed[SessionRecord]:
        """Return all sessions that have not ended."""
        ...
