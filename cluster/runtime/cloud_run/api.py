"""The calls of Cloud Run that this package makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cluster.cloud_run_options import Place
from cluster.runtime.cloud_run.operations import Seen
from cluster.runtime.cloud_run.service_spec import Document


class Api(Protocol):
    """The calls of ``client.CloudRunApi``. All raise CallFailed."""

    async def create(self, place: Place, name: str, document: Document) -> str:
        """Begin to make a resource; return the operation's name."""
        ...

    async def failure(self, operation: str) -> str | None:
        """Return the reason for which an operation has failed; None while it has not."""
        ...

    async def get(self, resource: str) -> Seen | None:
        """Return how a resource is; None when there is none."""
        ...

    async def delete(self, resource: str) -> None:
        """Begin to remove a resource; of one that is gone there is nothing to do."""
        ...

    async def list(self, place: Place) -> Sequence[Seen]:
        """Return every resource of a place, whoever made it."""
        ...
