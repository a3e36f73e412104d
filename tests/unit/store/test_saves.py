"""Saves under an idempotency key: one at a time, and the dead are followed."""

from __future__ import annotations

import pytest

from actors.core.errors.base import Busy
from actors.core.records.archive import SaveAnswer
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.workspaces import saves
from cluster.store.layers.workspaces.saves import LEASE_SECONDS, Turn
from cluster.store.transactions.transaction import transact
from tests.fakes.engines import CALLERS_ENGINES, opened_engine

KEYS = Keyspace("t")
KEY = saves.place_of("s", "k")
NO_UTF8 = "a\udcff"


@pytest.fixture(params=CALLERS_ENGINES)
async def ask(request, tmp_path):
    async with opened_engine(request.param, tmp_path) as engine:

        async def run(work, *arguments):
            return await transact(engine, work, KEYS, *arguments)

        yield run


def answer(token: str = "one") -> SaveAnswer:
    return SaveAnswer(KEY, token, NO_UTF8, 3, "etag", "digest")


async def test_one_begins_and_another_waits_until_it_is_done(ask):
    assert (await ask(saves.begin, KEY, "one", NO_UTF8, 0.0)).turn is Turn.FIRST
    assert (await ask(saves.begin, KEY, "two", NO_UTF8, 1.0)).turn is Turn.WAIT
    assert await ask(saves.done, answer()) is None
    await ask(saves.finish, answer(), 7, 2.0)
    done = await ask(saves.begin, KEY, "two", NO_UTF8, 3.0)
    assert (done.turn, done.receipt, done.digest) == (Turn.DONE, answer().receipt(7), "digest")
    assert await ask(saves.done, answer("two")) == 7


async def test_a_lease_is_renewed_by_its_holder_and_runs_out_without(ask):
    await ask(saves.begin, KEY, "one", "a", 0.0)
    await ask(saves.begin, KEY, "one", "a", 10.0)
    assert (await ask(saves.begin, KEY, "two", "a", LEASE_SECONDS + 1)).turn is Turn.WAIT
    taken = await ask(saves.begin, KEY, "two", "a", LEASE_SECONDS + 11)
    assert taken.turn is Turn.AGAIN
    assert (await ask(saves.begin, KEY, "two", "a", LEASE_SECONDS + 12)).turn is Turn.AGAIN
    with pytest.raises(Busy):
        await ask(saves.done, answer("one"))


async def test_a_key_that_was_given_up_is_free(ask):
    await ask(saves.begin, KEY, "one", "a", 0.0)
    await ask(saves.abandon, KEY, "two")
    assert (await ask(saves.begin, KEY, "two", "b", 0.0)).turn is Turn.WAIT
    await ask(saves.abandon, KEY, "one")
    assert (await ask(saves.begin, KEY, "two", "b", 0.0)).turn is Turn.FIRST
