"""Versions are kept by time, by number, and as of each moment that may be asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actors.core.records.sessions import SessionPhase, SessionRecord
from cluster.store.engines.interface import Engine
from cluster.store.layers.entries import Entry, Kind
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import sessions
from cluster.store.layers.workspaces import manifests, retention
from cluster.store.layers.workspaces.manifests import Fence
from cluster.store.transactions.transaction import Transaction, transact
from tests.fakes.engines import opened_engine

KEYS = Keyspace("t")
TIMES = (10.0, 20.0, 30.0, 40.0)
"""Of the versions 1 to 4."""


@pytest.fixture
async def engine(tmp_path) -> AsyncIterator[Engine]:
    async with opened_engine("lmdb", tmp_path) as made:
        await transact(made, _put_session)
        for number, at in enumerate(TIMES):
            entry = Entry(Kind.LINK, modified_ns=number, target=b"to")
            await transact(
                made,
                manifests.commit,
                KEYS,
                Fence("s", "w", "c"),
                number,
                {b"a": entry},
                {},
                now=at,
            )
        yield made


async def _put_session(tr: Transaction) -> None:
    record = SessionRecord(
        session_id="s", tenant_id="t", user_id="u", name="n", phase=SessionPhase.READY, epoch=1,
        workspace_id="w", container_id="c", created_at=0, updated_at=0, last_activity=0,
    )  # fmt: skip
    sessions.put(tr, KEYS, record)


async def oldest_to_keep(engine: Engine, *, before: float, keep: int) -> int:
    return await transact(engine, retention.expired, KEYS, "w", before, keep)


@pytest.mark.parametrize(
    ("before", "oldest"),
    [
        (5.0, 1),  # nothing is that old
        (10.0, 1),  # made at that very moment: kept
        (10.1, 1),  # the newest one at that moment: what the workspace was then
        (20.0, 1),  # what was newest just before it
        (20.1, 2),
        (35.0, 3),
        (40.1, 4),
        (1000.0, 4),  # the newest is always kept
    ],
)
async def test_every_moment_since_then_can_be_asked_for(engine, before, oldest):
    assert await oldest_to_keep(engine, before=before, keep=1) == oldest


@pytest.mark.parametrize(("keep", "oldest"), [(1, 4), (2, 3), (3, 2), (4, 1), (9, 1)])
async def test_the_newest_versions_are_kept_however_old_they_are(engine, keep, oldest):
    assert await oldest_to_keep(engine, before=1000.0, keep=keep) == oldest


async def test_what_was_forgotten_does_not_come_back(engine):
    assert await transact(engine, retention.raise_oldest, KEYS, "w", 3)
    assert await oldest_to_keep(engine, before=0.0, keep=9) == 3
    assert not await transact(engine, retention.raise_oldest, KEYS, "w", 3)
    assert not await transact(engine, retention.raise_oldest, KEYS, "w", 2)
    assert not await transact(engine, retention.raise_oldest, KEYS, "w", 5)
