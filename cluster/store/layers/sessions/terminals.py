"""Terminals in the store: their records and their output, in segments keyed by offset.

A segment has up to ``SEGMENT`` bytes. The last one is rewritten while it is small, so that a terminal
that prints a byte at a time makes few keys. What falls below ``start`` is removed once a whole segment
is behind; readers cut at ``start``, which is a byte at which the terminal's state is known wherever there
is one (``codi.terminals.modes``). What is kept of a terminal counts as its user's (``usage``).
Every function takes a transaction.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.core import quotas
from actors.core.errors.sessions import Fenced
from actors.core.ports.codi import TerminalOpened, TerminalPrinted
from actors.core.ports.journal import Output
from actors.core.quotas import Resource
from actors.core.records.containers import ContainerRecord
from actors.core.records.sessions import SessionRecord
from actors.core.records.terminals import TerminalRecord
from cluster.store.engines.interface import KeyRange, key_after
from cluster.store.layers import usage
from cluster.store.layers.codec import decode, decode_optional, encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction

SEGMENT = 16 << 10
MERGE_BELOW = 4 << 10
MAX_INPUTS = 64
MAX_TERMINALS = 128
"""Names that a session's terminals may have had before those that ended longest ago are forgotten."""

MAX_DELETED = 16
"""Deleted terminals of a session whose numbering is kept: nobody counts them, so they are few."""

MAX_CWD = 4096
MAX_PROGRAM = 32 << 10
STATE_WITHIN = 16 << 10
"""Bytes kept of a terminal beyond its bound, so that it begins with a known state."""


@dataclass(frozen=True, slots=True)
class End:
    """Where a terminal's output ends, at a version of the store: what the next append has to know.

    ``tail`` is the last segment; ``states`` are the offsets at which the terminal's state is known, None
    when nobody has looked for them yet.
    """

    record: TerminalRecord
    tail: bytes
    states: tuple[int, ...] | None = None
    version: int = 0


async def get(tr: Transaction, keys: Keyspace, session_id: str, name: str) -> TerminalRecord | None:
    """Return a terminal."""
    return decode_optional(TerminalRecord, await tr.get(keys.terminals.key(session_id, name)))


async def of_session(tr: Transaction, keys: Keyspace, session_id: str) -> list[TerminalRecord]:
    """Return the session's terminals by name, without the deleted ones."""
    return [record for record in await _known(tr, keys, session_id) if record.program is None]


async def programs_of(tr: Transaction, keys: Keyspace, session_id: str) -> list[TerminalRecord]:
    """Return the session's programs by name, without the deleted ones."""
    return [record for record in await _known(tr, keys, session_id) if record.program is not None]


async def _known(tr: Transaction, keys: Keyspace, session_id: str) -> list[TerminalRecord]:
    pairs = await tr.get_range(keys.terminals.range(session_id), snapshot=True)
    found = [decode(TerminalRecord, value) for _, value in pairs]
    return [record for record in found if not record.deleted]


def put(tr: Transaction, keys: Keyspace, record: TerminalRecord) -> None:
    """Write a record that was read: whoever knew the terminal's end before does not any more."""
    tr.set(keys.terminals.key(record.session_id, record.name), encode(record))
    tr.add_write_conflict(_fence(keys, record.session_id, record.name))


async def open_terminal(
    tr: Transaction, keys: Keyspace, container_id: str, opened: TerminalOpened, now: float
) -> TerminalRecord:
    """Let the container's shell print from now on. Raises Fenced when it is not the session's."""
    data = await tr.get(keys.containers.key(container_id))
    container = decode_optional(ContainerRecord, data)
    session_id = container.session_id if container is not None else None
    if session_id is None:
        raise Fenced(container_id, 0, 0)
    session_key, key = keys.sessions.key(session_id), keys.terminals.key(session_id, opened.name)
    session_data, data = await tr.get_many([session_key, key])
    session = decode_optional(SessionRecord, session_data)
    if session is None or session.container_id != container_id:
        raise Fenced(session_id, 0, session.epoch if session is not None else 0)
    record = decode_optional(TerminalRecord, data)
    if record is None:
        programs_of_container = container_id if opened.program is not None else None
        await _make_room(tr, keys, session_id, programs_of_container)
        record = TerminalRecord(
            session_id=session_id, name=opened.name, container_id="", created_at=now, updated_at=now
        )
    if record.user_id != session.user_id:  # new, or of a release that did not count
        _count(tr, keys, session.user_id, record.end - record.start)
    # A terminal that goes on may have moved, or have another shell, since the journal last heard of it.
    goes_on = opened.kept is not None and record.container_id == container_id
    changed = record.model_copy(
        update={
            "user_id": session.user_id,
            "container_id": container_id,
            "cols": opened.cols,
            "rows": opened.rows,
            "cwd": _directory(opened.cwd) or (record.cwd if goes_on else None),
            # A program that has ended and is announced anew, to a journal that was away, has ended still.
            "exit_code": record.exit_code if goes_on and opened.program is not None else None,
            "program": None if opened.program is None else opened.program[:MAX_PROGRAM],
            "deleted": False,
        }
    )
    if goes_on and changed == record:
        return record
    changed = changed.model_copy(update={"updated_at": now})
    put(tr, keys, changed)
    return changed


async def _make_room(
    tr: Transaction, keys: Keyspace, session_id: str, container_id: str | None
) -> None:
    """Forget the terminal that ended longest ago when a session has had very many names.

    With the container that runs now, the same of programs by name: those of others have ended, too.
    """
    pairs = await tr.get_range(keys.terminals.range(session_id))
    known = [decode(TerminalRecord, value) for _, value in pairs]
    alike = [each for each in known if (each.program is None) is (container_id is None)]
    if len(alike) < MAX_TERMINALS:
        return
    ended = [
        each
        for each in alike
        if each.deleted
        or each.exit_code is not None
        or (container_id is not None and each.container_id != container_id)
    ]
    if ended:
        oldest = min(ended, key=lambda record: (record.updated_at, record.name))
        _count(tr, keys, oldest.user_id, oldest.start - oldest.end)
        _remove(tr, keys, oldest)
        _clear(tr, keys, oldest)


async def append(
    tr: Transaction,
    keys: Keyspace,
    outputs: Sequence[Output],
    known: Mapping[tuple[str, str], End],
    capacity: int,
    now: float,
) -> list[End | None]:
    """Keep output; see ``actors.core.ports.journal.Journal.append``. At most one output for each terminal.

    ``known`` are ends that appends have returned, and spare reading them: the commit conflicts when
    anybody but those appends has written one of these terminals since.
    """
    names = [(of.session_id, of.name) for of, _ in outputs]
    missing = [name for name in names if name not in known]
    ends = {**known, **(await _read_ends(tr, keys, missing) if missing else {})}
    for name in known:
        tr.add_read_conflict(_fence(keys, *name))
        tr.assume(known[name].version)
    # What a shell printed right before its terminal was deleted may come behind the deletion, and is
    # none of the next terminal of that name.
    mine = [
        end
        if end and end.record.container_id == of.container_id and not end.record.deleted
        else None
        for end, (of, _) in zip((ends.get(name) for name in names), outputs, strict=True)
    ]
    kept = [
        None if end is None else await _append_one(tr, keys, end, output, capacity, now)
        for end, (_, output) in zip(mine, outputs, strict=True)
    ]
    _count_growth(tr, keys, zip(mine, kept, strict=True))
    return kept


async def _read_ends(
    tr: Transaction, keys: Keyspace, names: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], End]:
    """Read where terminals end. Whoever knew that of them before does not any more."""
    stored = await tr.get_many([keys.terminals.key(*name) for name in names])
    records = [decode(TerminalRecord, data) for data in stored if data is not None]
    tails = await tr.get_many([_tail_key(keys, record) for record in records])
    for record in records:
        tr.add_write_conflict(_fence(keys, record.session_id, record.name))
    return {
        (record.session_id, record.name): End(
            record, (tail or b"") if record.end > record.tail else b""
        )
        for record, tail in zip(records, tails, strict=True)
    }


def _count_growth(
    tr: Transaction,
    keys: Keyspace,
    changes: Iterable[tuple[End | None, End | None]],
) -> None:
    """Add to users' counters what is kept of their terminals more than before; mostly nothing is."""
    growth: Counter[str] = Counter()
    for before, after in changes:
        if before is not None and after is not None:
            old, new = before.record, after.record
            growth[new.user_id] += (new.end - new.start) - (old.end - old.start)
    for user_id, amount in growth.items():
        if amount:
            _count(tr, keys, user_id, amount)


def _count(tr: Transaction, keys: Keyspace, user_id: str, amount: int) -> None:
    usage.add(tr, keys, Resource.JOURNAL_BYTES, user_id, amount)


async def _append_one(
    tr: Transaction, keys: Keyspace, before: End, output: TerminalPrinted, capacity: int, now: float
) -> End:
    record, tail, states = before.record, before.tail, before.states
    name = record.session_id, record.name
    data, start, end, at = output.data, record.start, record.end, record.tail
    if output.offset > end:
        # Whoever kept what lies between has lost it (a restored store): it is forgotten as a whole,
        # which readers see, rather than joined to what it does not follow.
        _clear(tr, keys, record)
        start = end = at = output.offset
        tail, states = b"", ()
    data = data[max(end - output.offset, 0) :]
    if data:
        end += len(data)
        if len(tail) < MERGE_BELOW:
            data = tail + data
        else:
            at += len(tail)
        for begin in range(0, len(data), SEGMENT):
            tail = data[begin : begin + SEGMENT]
            tr.set(keys.journal.key(*name, at + begin), tail)
        at += (len(data) - 1) // SEGMENT * SEGMENT
        fresh = [known for known in output.states if record.end < known <= end]
        for known in fresh:
            tr.set(keys.journal_states.key(*name, known), output.states[known])
        if states is not None:
            states += tuple(fresh)
        start, states = await _trim(tr, keys, record, states, start, end, capacity)
    inputs = dict(record.inputs)
    for client, count in output.inputs.items():
        inputs[client] = max(count, inputs.pop(client, 0))
    while len(inputs) > MAX_INPUTS:
        del inputs[next(iter(inputs))]
    update = {"start": start, "end": end, "tail": at, "inputs": inputs, "updated_at": now}
    changed = record.model_copy(update=update)
    tr.set(keys.terminals.key(*name), encode(changed))
    return End(changed, tail, states)


async def _trim(
    tr: Transaction,
    keys: Keyspace,
    record: TerminalRecord,
    states: tuple[int, ...] | None,
    start: int,
    end: int,
    bound: int,
) -> tuple[int, tuple[int, ...] | None]:
    """Return the new start and where states are known; remove segments before it, now and then."""
    if end - start <= bound:
        return start, states
    if states is None:
        span = keys.journal_states.range(record.session_id, record.name)
        pairs = await tr.get_range(span, snapshot=True)
        states = tuple(int(keys.journal_states.unpack(key)[-1]) for key, _ in pairs)
    kept_from = _known_state(states, start, end, bound)
    before = keys.journal_states.range(record.session_id, record.name).begin
    kept_states = keys.journal_states.key(record.session_id, record.name, kept_from)
    tr.clear_range(KeyRange(before, kept_states))
    # A segment that begins before this has ended before ``kept_from``.
    whole = kept_from - SEGMENT
    if whole > 0 and whole // SEGMENT > (start - SEGMENT) // SEGMENT:
        begin = keys.journal.range(record.session_id, record.name).begin
        tr.clear_range(KeyRange(begin, keys.journal.key(record.session_id, record.name, whole)))
    return kept_from, states[bisect_left(states, kept_from) :]


def _known_state(states: tuple[int, ...], start: int, end: int, bound: int) -> int:
    """Return where to begin so that about ``bound`` bytes are kept, with a known state if there is one.

    A sixteenth more than has to may go, so that it is not looked for at every append. A terminal of an
    older CODI has no states, and begins at the byte that the bound says.
    """
    exact = end - bound
    later = bisect_left(states, exact + bound // 16)
    if later < len(states):
        return states[later]
    nearest = states[later - 1] if later else -1
    return nearest if nearest >= max(start, exact - STATE_WITHIN) else exact


async def state(tr: Transaction, keys: Keyspace, session_id: str, name: str, offset: int) -> bytes:
    """Return what brings a terminal to where its output from ``offset`` begins; empty: not known."""
    return await tr.get(keys.journal_states.key(session_id, name, offset)) or b""


def _clear(tr: Transaction, keys: Keyspace, record: TerminalRecord) -> None:
    """Remove a terminal's output."""
    tr.clear_range(keys.journal.range(record.session_id, record.name))
    tr.clear_range(keys.journal_states.range(record.session_id, record.name))


async def note(
    tr: Transaction,
    keys: Keyspace,
    session_id: str,
    name: str,
    container_id: str,
    now: float,
    changes: Mapping[str, Any],
) -> None:
    """Note what has changed of a terminal, unless another container's shell has replaced it; None: not."""
    record = await get(tr, keys, session_id, name)
    if record is None or record.container_id != container_id:
        return
    bounded = {**changes, "cwd": _directory(changes.get("cwd"))}
    given = {field: value for field, value in bounded.items() if value is not None}
    if given:
        put(tr, keys, record.model_copy(update={**given, "updated_at": now}))


async def output(
    tr: Transaction, keys: Keyspace, session_id: str, name: str, offset: int, limit: int
) -> list[tuple[int, bytes]]:
    """Return kept output from ``offset`` on, in pieces with their offsets; none before ``start``."""
    record = await get(tr, keys, session_id, name)
    if record is None:
        return []
    offset = max(offset, record.start)
    span = KeyRange(
        keys.journal.key(session_id, name, max(offset - SEGMENT + 1, 0)),
        keys.journal.range(session_id, name).end,
    )
    # Up to ``SEGMENT // MERGE_BELOW`` of the first ones may end before the offset.
    pairs = await tr.get_range(span, limit=(SEGMENT + limit) // MERGE_BELOW + 2, snapshot=True)
    found: list[tuple[int, bytes]] = []
    for key, value in pairs:
        begin = int(keys.journal.unpack(key)[-1])
        if begin + len(value) <= offset or begin >= record.end:
            continue
        if limit <= 0:
            break
        piece = value[max(offset - begin, 0) : record.end - begin]
        found.append((max(begin, offset), piece))
        limit -= len(piece)
    return found


async def delete(tr: Transaction, keys: Keyspace, session_id: str, name: str, now: float) -> None:
    """Forget what is kept of a terminal, but for its numbering: no number is ever used twice."""
    record = await get(tr, keys, session_id, name)
    if record is None or record.deleted:
        return
    _count(tr, keys, record.user_id, record.start - record.end)
    _clear(tr, keys, record)
    changes = {"start": record.end, "tail": record.end, "deleted": True, "updated_at": now}
    put(tr, keys, record.model_copy(update=changes))
    # A snapshot: whatever a terminal prints writes its record, and none of that is asked for here.
    pairs = await tr.get_range(keys.terminals.range(session_id), snapshot=True)
    known = [decode(TerminalRecord, value) for _, value in pairs]
    deleted = sorted((each for each in known if each.deleted), key=lambda each: -each.updated_at)
    for oldest in deleted[MAX_DELETED:]:
        # Read anew: it may have been opened again, which is to be seen, and to conflict.
        current = await get(tr, keys, session_id, oldest.name)
        if current is not None and current.deleted:
            _remove(tr, keys, current)


async def forget_all(tr: Transaction, keys: Keyspace, session_id: str) -> None:
    """Forget all terminals of a session that ends, with their output."""
    for _, value in await tr.get_range(keys.terminals.range(session_id)):
        record = decode(TerminalRecord, value)
        _count(tr, keys, record.user_id, record.start - record.end)
    tr.clear_range(keys.terminals.range(session_id))
    tr.add_write_conflict(keys.terminal_fences.range(session_id))
    tr.clear_range(keys.journal.range(session_id))
    tr.clear_range(keys.journal_states.range(session_id))


async def surplus(
    tr: Transaction, keys: Keyspace, user_id: str, total: int
) -> tuple[int, list[TerminalRecord]]:
    """Return the user's terminals that have to lose output for at most ``total`` bytes to be kept.

    With them the bound that each is cut to. It is the same for all, so that the one that prints most
    loses most. Does not conflict.
    """
    sessions = await tr.get_range(keys.session_names.range(user_id), snapshot=True)
    records = [
        decode(TerminalRecord, value)
        for _, session_id in sessions
        for _, value in await tr.get_range(keys.terminals.range(session_id.decode()), snapshot=True)
    ]
    mine = [record for record in records if record.user_id == user_id]
    bound = quotas.level([record.end - record.start for record in mine], total)
    return bound, [record for record in mine if record.end - record.start > bound]


async def cut(tr: Transaction, keys: Keyspace, session_id: str, name: str, bound: int) -> int:
    """Forget a terminal's oldest output but for ``bound`` bytes; return how many went.

    Every append to the terminal conflicts with this: a transaction cuts one, and is a short one.
    """
    record = await get(tr, keys, session_id, name)
    if record is None or record.end - record.start <= bound:
        return 0
    start, _ = await _trim(tr, keys, record, None, record.start, record.end, bound)
    put(tr, keys, record.model_copy(update={"start": start}))
    _count(tr, keys, record.user_id, record.start - start)
    return start - record.start


def _remove(tr: Transaction, keys: Keyspace, record: TerminalRecord) -> None:
    tr.clear(keys.terminals.key(record.session_id, record.name))
    tr.add_write_conflict(_fence(keys, record.session_id, record.name))


def _fence(keys: Keyspace, session_id: str, name: str) -> KeyRange:
    """Return what stands in conflicts for a terminal's record as all but appends that know its end write it.

    So appends need not read it. Whoever writes the record has read it, and so conflicts with appends; an
    append that has read it invalidates what another process's appends know.
    """
    key = keys.terminal_fences.key(session_id, name)
    return KeyRange(key, key_after(key))


def _tail_key(keys: Keyspace, record: TerminalRecord) -> bytes:
    return keys.journal.key(record.session_id, record.name, record.tail)


def _directory(cwd: str | None) -> str | None:
    return cwd if cwd is None or len(cwd) <= MAX_CWD else None
