"""A journal in memory: each terminal's output is one ``bytearray``. Also the model of the real one.

Held to the same contract as the real one by ``tests/contract/test_journal_contract.py``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from actors.core.errors.sessions import Fenced
from actors.core.ports.codi import TerminalOpened
from actors.core.ports.journal import Output
from actors.core.quotas import Quotas, level
from actors.core.records.terminals import TerminalRecord, TerminalSizing
from cluster.store.layers.sessions.terminals import MAX_CWD, MAX_INPUTS, MAX_TERMINALS
from tests.fakes.ledger import MemoryLedger


class MemoryJournal:
    """Each method is one step, as a transaction is. Sessions and containers are the ledger's.

    ``refuse`` holds errors that the next writes raise without writing, ``lose`` errors that they raise
    although they wrote. ``commits`` has the outputs of every append that was committed.
    """

    def __init__(
        self, ledger: MemoryLedger, capacity: int = 1 << 20, quotas: Quotas | None = None
    ) -> None:
        self._quotas = quotas or Quotas()
        self.refuse: deque[Exception] = deque()
        self.lose: deque[Exception] = deque()
        self.commits: list[list[Output]] = []
        self._ledger = ledger
        self._capacity = capacity
        self._records: dict[tuple[str, str], TerminalRecord] = {}
        self._bytes: dict[tuple[str, str], bytearray] = {}
        self.states: dict[tuple[str, str, int], bytes] = {}

    async def open_terminal(
        self, container_id: str, opened: TerminalOpened, now: float
    ) -> TerminalRecord:
        await self._begin()
        container = self._ledger.records.get(container_id)
        session_id = container.session_id if container is not None else None
        session = self._ledger.stored.get(session_id) if session_id is not None else None
        if session is None or session.container_id != container_id:
            raise Fenced(session_id or container_id, 0, session.epoch if session is not None else 0)
        key = session.session_id, opened.name
        if self._get(*key) is None:
            self._make_room(session.session_id, container_id if opened.program else None)
        record = self._get(*key) or TerminalRecord(
            session_id=session.session_id,
            name=opened.name,
            container_id="",
            user_id=session.user_id,
            created_at=now,
            updated_at=now,
        )
        goes_on = opened.kept is not None and record.container_id == container_id
        changed = record.model_copy(
            update={
                "container_id": container_id,
                "cols": opened.cols,
                "rows": opened.rows,
                "cwd": _directory(opened.cwd) or (record.cwd if goes_on else None),
                "exit_code": record.exit_code if goes_on and opened.program is not None else None,
                "program": opened.program,
                "deleted": False,
            }
        )
        if goes_on and changed == record:
            return record
        self._records[key] = changed.model_copy(update={"updated_at": now})
        self._bytes.setdefault(key, bytearray())
        self._end()
        return self._records[key]

    def _make_room(self, session_id: str, container_id: str | None) -> None:
        known = [
            record
            for (session, _), record in self._records.items()
            if session == session_id and (record.program is None) is (container_id is None)
        ]
        ended = [
            each
            for each in known
            if each.deleted
            or each.exit_code is not None
            or (container_id is not None and each.container_id != container_id)
        ]
        if len(known) >= MAX_TERMINALS and ended:
            oldest = min(ended, key=lambda record: (record.updated_at, record.name))
            del self._records[session_id, oldest.name], self._bytes[session_id, oldest.name]

    async def append(self, outputs: Sequence[Output], now: float) -> list[TerminalRecord | None]:
        await self._begin()
        answers = [self._append(output, now) for output in outputs]
        self.commits.append(list(outputs))
        self._end()
        return answers

    def _append(self, printed: Output, now: float) -> TerminalRecord | None:
        of, output = printed
        key = of.session_id, of.name
        record = self._get(*key)
        if record is None or record.deleted or record.container_id != of.container_id:
            return None
        kept, start, end = self._bytes[key], record.start, record.end
        if output.offset > end:
            kept.clear()
            start = end = output.offset
        new = output.data[end - output.offset :]
        kept += new
        end += len(new)
        surplus = max(len(kept) - self._capacity, 0)
        del kept[:surplus]
        self.states |= {(*key, at): state for at, state in output.states.items()}
        inputs = dict(record.inputs)
        for client, count in output.inputs.items():
            inputs[client] = max(count, inputs.pop(client, 0))
        self._records[key] = record.model_copy(
            update={
                "start": start + surplus,
                "end": end,
                "inputs": dict(list(inputs.items())[-MAX_INPUTS:]),
                "updated_at": now,
            }
        )
        return self._records[key]

    async def note(
        self,
        session_id: str,
        name: str,
        container_id: str,
        *,
        now: float,
        cwd: str | None = None,
        exit_code: int | None = None,
        sizing: TerminalSizing | None = None,
    ) -> None:
        await self._begin()
        record = self._get(session_id, name)
        if record is not None and record.container_id == container_id:
            given = {"cwd": _directory(cwd), "exit_code": exit_code, "sizing": sizing}
            update = {field: value for field, value in given.items() if value is not None}
            if update:
                update["updated_at"] = now
            self._records[session_id, name] = record.model_copy(update=update)
        self._end()

    async def terminals(self, session_id: str) -> list[TerminalRecord]:
        await asyncio.sleep(0)
        return [record for record in self._known(session_id) if record.program is None]

    async def programs(self, session_id: str) -> list[TerminalRecord]:
        await asyncio.sleep(0)
        return [record for record in self._known(session_id) if record.program is not None]

    def _known(self, session_id: str) -> list[TerminalRecord]:
        names = sorted(name for session, name in self._records if session == session_id)
        found = [self._get(session_id, name) for name in names]
        return [record for record in found if record is not None and not record.deleted]

    async def terminal(self, session_id: str, name: str) -> TerminalRecord | None:
        await asyncio.sleep(0)
        return self._get(session_id, name)

    async def output(
        self, session_id: str, name: str, offset: int, limit: int
    ) -> list[tuple[int, bytes]]:
        await asyncio.sleep(0)
        record = self._get(session_id, name)
        if record is None:
            return []
        begin = max(offset, record.start)
        kept = self._bytes[session_id, name]
        piece = bytes(kept[begin - record.start :][:limit])
        return [(begin, piece)] if piece else []

    async def state(self, session_id: str, name: str, offset: int) -> bytes:
        await asyncio.sleep(0)
        return self.states.get((session_id, name, offset), b"")

    async def delete_terminal(self, session_id: str, name: str, now: float) -> None:
        await self._begin()
        record = self._get(session_id, name)
        if record is not None and not record.deleted:
            self._bytes[session_id, name].clear()
            update = {"start": record.end, "deleted": True, "updated_at": now}
            self._records[session_id, name] = record.model_copy(update=update)
        self._end()

    async def trim(self) -> int:
        await self._begin()
        limit, gone = self._quotas.journal_bytes, 0
        for user_id in {record.user_id for record in self._records.values()} if limit else ():
            kept = {
                k: len(self._bytes[k]) for k, r in self._records.items() if r.user_id == user_id
            }
            if sum(kept.values()) > limit:
                bound = level(list(kept.values()), limit * 9 // 10)
                for key, size in kept.items():
                    surplus = max(0, size - bound)
                    del self._bytes[key][:surplus]
                    record = self._records[key]
                    update = {"start": record.start + surplus}
                    self._records[key] = record.model_copy(update=update)
                    gone += surplus
        self._end()
        return gone

    def _get(self, session_id: str, name: str) -> TerminalRecord | None:
        """Return a record; those of a session that has ended went with it."""
        if session_id not in self._ledger.stored:
            self._records.pop((session_id, name), None)
            self._bytes.pop((session_id, name), None)
        return self._records.get((session_id, name))

    async def _begin(self) -> None:
        await asyncio.sleep(0)
        if self.refuse:
            raise self.refuse.popleft()

    def _end(self) -> None:
        if self.lose:
            raise self.lose.popleft()


def _directory(cwd: str | None) -> str | None:
    return cwd if cwd is None or len(cwd) <= MAX_CWD else None
