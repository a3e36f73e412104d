"""``actors.core.ports.journal.Journal`` over an engine: each method but ``trim`` is one transaction."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import structlog

from actors.core.errors.base import CoditectError
from actors.core.ports.codi import TerminalOpened
from actors.core.ports.journal import Output
from actors.core.quotas import Quotas, Resource
from actors.core.records.terminals import TerminalRecord, TerminalSizing
from cluster.store.engines.interface import Engine
from cluster.store.layers import usage
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import terminals
from cluster.store.transactions.transaction import Transaction, transact

logger = structlog.get_logger(__name__)

_ENDS = 512
_END_SECONDS = 2.0
"""Ends of terminals that are remembered, and for how long: conflicts are known for five seconds."""


class StoreJournal:
    """The journal of one tenant's terminals; ``capacity`` bytes are kept of each.

    ``quotas`` are the limits of users who have no others.
    """

    def __init__(
        self, engine: Engine, tenant_id: str, capacity: int, quotas: Quotas | None = None
    ) -> None:
        self._quotas = quotas or Quotas()
        self._engine = engine
        self._keys = Keyspace(tenant_id)
        self._capacity = capacity
        self._ends: OrderedDict[tuple[str, str], terminals.End] = OrderedDict()

    async def open_terminal(
        self, container_id: str, opened: TerminalOpened, now: float
    ) -> TerminalRecord:
        """Take a terminal's shell as the one that prints from now on. Raises Fenced."""
        work = terminals.open_terminal
        return await transact(self._engine, work, self._keys, container_id, opened, now)

    async def append(self, outputs: Sequence[Output], now: float) -> list[TerminalRecord | None]:
        """Keep output, all or nothing; None for each that another container's shell has replaced."""
        tr, ends = await transact(self._engine, self._append, outputs, now)
        version = tr.committed_version
        for end in ends:
            if end is not None and version is not None:
                name = end.record.session_id, end.record.name
                self._ends[name] = replace(end, version=version)
        while len(self._ends) > _ENDS:
            self._ends.popitem(last=False)
        return [None if end is None else end.record for end in ends]

    async def _append(
        self, tr: Transaction, outputs: Sequence[Output], now: float
    ) -> tuple[Transaction, list[terminals.End | None]]:
        """Take what is known of the terminals' ends: a second try, and an append beside, read anew."""
        known = {}
        for of, _ in outputs:
            name = of.session_id, of.name
            end = self._ends.pop(name, None)
            # What would be refused is read anew: another shell may have been opened since.
            mine = end is not None and end.record.container_id == of.container_id
            if end is not None and mine and 0.0 <= now - end.record.updated_at < _END_SECONDS:
                known[name] = end
        return tr, await terminals.append(tr, self._keys, outputs, known, self._capacity, now)

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
        """Note a shell's directory, its end or the rule for its size."""
        work, keys = terminals.note, self._keys
        changes = {"cwd": cwd, "exit_code": exit_code, "sizing": sizing}
        await transact(self._engine, work, keys, session_id, name, container_id, now, changes)

    async def terminals(self, session_id: str) -> list[TerminalRecord]:
        """Return the session's terminals by name."""
        return await transact(self._engine, terminals.of_session, self._keys, session_id)

    async def programs(self, session_id: str) -> list[TerminalRecord]:
        """Return the session's programs by name."""
        return await transact(self._engine, terminals.programs_of, self._keys, session_id)

    async def terminal(self, session_id: str, name: str) -> TerminalRecord | None:
        """Return a terminal."""
        return await transact(self._engine, terminals.get, self._keys, session_id, name)

    async def output(
        self, session_id: str, name: str, offset: int, limit: int
    ) -> list[tuple[int, bytes]]:
        """Return kept output from ``offset`` on, about ``limit`` bytes."""
        work = terminals.output
        return await transact(self._engine, work, self._keys, session_id, name, offset, limit)

    async def state(self, session_id: str, name: str, offset: int) -> bytes:
        """Return what brings a terminal to where its output from ``offset`` begins; empty: not known."""
        work = terminals.state
        return await transact(self._engine, work, self._keys, session_id, name, offset)

    async def delete_terminal(self, session_id: str, name: str, now: float) -> None:
        """Forget what is kept of a terminal, but for its numbering."""
        await transact(self._engine, terminals.delete, self._keys, session_id, name, now)

    async def trim(self) -> int:
        """Forget the oldest output of users who have more than they may; return how many bytes.

        A tenth more goes than has to, so that the next byte does not make it necessary again. A user
        whose output cannot be cut now is logged, and keeps nobody else's from being cut.
        """
        engine, keys, resource = self._engine, self._keys, Resource.JOURNAL_BYTES
        gone = 0
        for user_id, used in (
            await transact(engine, usage.over, keys, resource, self._quotas)
        ).items():
            total = (used.limit or 0) * 9 // 10
            try:
                bound, losers = await transact(engine, terminals.surplus, keys, user_id, total)
                for each in losers:
                    gone += await transact(
                        engine, terminals.cut, keys, each.session_id, each.name, bound
                    )
            except (CoditectError, OSError) as error:
                logger.warning("a journal is not trimmed", user_id=user_id, reason=str(error))
        return gone
