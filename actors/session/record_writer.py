"""The one writer of a session's record: changes are applied one after the other to what is stored.

Every write checks epoch and owner in the store; ``Fenced`` means that this actor's time is over. A
write whose outcome is not known (a lost answer, a time limit) makes the next one read the record
again first, so that nothing which was committed after all is overwritten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from actors.core.errors.sessions import Fenced, NotBound
from actors.core.ports.ledger import Ledger
from actors.core.records.sessions import SessionRecord
from actors.core.timing import within

WRITE_SECONDS = 5.0
Change = Callable[[SessionRecord], SessionRecord]


class RecordWriter:
    """Holds the last committed record of one activation, and commits changes of it in turn."""

    def __init__(self, ledger: Ledger, record: SessionRecord) -> None:
        self._ledger = ledger
        self._record = record
        self._lock = asyncio.Lock()
        self._uncertain = False
        self._closed = False

    @property
    def record(self) -> SessionRecord:
        """The record that was committed last."""
        return self._record

    def close(self) -> None:
        """Refuse what is still waiting, and everything later, with NotBound."""
        self._closed = True

    async def update(self, change: Change, *, key: str | None = None) -> SessionRecord:
        """Commit a change and return the record with it; without a difference nothing is written.

        ``change`` runs at most once, on the newest record; what it raises passes. With ``key`` the
        same call again changes nothing and returns the record as it is.
        """
        answer = self._record

        async def write(record: SessionRecord) -> SessionRecord:
            nonlocal answer
            changed = change(record)
            if changed == record and key is None:
                answer = record
                return record
            numbered = changed.model_copy(update={"revision": record.revision + 1})
            answer = await self._ledger.save_session(numbered, key=key)
            return answer

        await self._exclusive("save of the session", write)
        return answer

    async def raise_epoch(self, change: Change) -> SessionRecord:
        """Commit a change and raise the epoch for a new container."""

        async def write(record: SessionRecord) -> SessionRecord:
            return await self._ledger.new_container_epoch(change(record))

        return await self._exclusive("raise of the epoch", write)

    async def renew_lease(self, number: int) -> None:
        """Renew the owner's lease, between two writes: each may raise the epoch that it names."""

        async def write(record: SessionRecord) -> SessionRecord:
            await self._ledger.renew_lease(record, number)
            return record

        await self._exclusive("renewal of the lease", write)

    async def passivate(self, change: Change) -> None:
        """Commit a change and give ownership back."""

        async def write(record: SessionRecord) -> SessionRecord:
            changed = change(record)
            await self._ledger.passivate(changed)
            return changed

        await self._exclusive("passivation", write)

    async def end(self, *, left_on: str | None = None) -> None:
        """End the session in the store; ``left_on`` as in ``Ledger.end_session``."""

        async def write(record: SessionRecord) -> SessionRecord:
            await self._ledger.end_session(record, left_on=left_on)
            return record

        await self._exclusive("end of the session", write)

    async def _exclusive(
        self, what: str, write: Callable[[SessionRecord], Awaitable[SessionRecord]]
    ) -> SessionRecord:
        async with self._lock:
            if self._closed:
                raise NotBound(self._record.owner_actor_id or "", self._record.session_id)
            if self._uncertain:
                self._record = await within(WRITE_SECONDS, "read of the session", self._reload())
            self._uncertain = True
            self._record = await within(WRITE_SECONDS, what, write(self._record))
            self._uncertain = False
            return self._record

    async def _reload(self) -> SessionRecord:
        mine = self._record
        stored = await self._ledger.session(mine.session_id)
        if stored is None:
            raise Fenced(mine.session_id, mine.epoch, mine.epoch + 1)
        if stored.epoch != mine.epoch or stored.owner_actor_id != mine.owner_actor_id:
            raise Fenced(mine.session_id, mine.epoch, stored.epoch)
        return stored
