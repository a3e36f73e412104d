"""Users' environments with their keys: rotation, tampering in the store, and what is left out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actors.core.errors.base import Unavailable
from actors.core.quotas import Quotas
from cluster.secrets.environments import LOCKED, StoredEnvironments
from cluster.secrets.keys import KEY_BYTES, SecretKeys, SecretLocked
from cluster.store.engines.interface import Engine
from cluster.store.layers.accounts.environment import EnvironmentStore
from cluster.store.layers.codec import encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction, transact
from tests.fakes.engines import opened_engine
from tests.fakes.pool_fakes import ManualClock
from tests.unit.store.test_environment import make_session

OLD, NEW = bytes(KEY_BYTES), bytes(range(KEY_BYTES))


@pytest.fixture
async def engine(tmp_path) -> AsyncIterator[Engine]:
    async with opened_engine("lmdb", tmp_path) as opened:
        yield opened


def environments(engine: Engine, *keys: bytes) -> StoredEnvironments:
    def load() -> SecretKeys:
        if not keys:
            raise Unavailable("the key for secrets", "no file")
        return SecretKeys.of(keys)

    store = EnvironmentStore(engine, "t")
    return StoredEnvironments(store, "t", load, ManualClock(), Quotas())


async def test_rotation_seals_anew_and_the_old_key_can_go(engine):
    await make_session(engine, "s", "u", 1.0)
    await environments(engine, OLD).put_secret("u", "A", "one", None)
    await environments(engine, OLD).put_secret("u2", "A", "two", "example.com")
    rotated = environments(engine, NEW, OLD)
    assert (await rotated.current("s")).variables == {"A": "one"}
    await rotated.put_secret("u", "B", "three", None)
    assert await rotated.reseal() == (2, 0)
    assert await rotated.reseal() == (0, 0)
    alone = environments(engine, NEW)
    assert (await alone.current("s")).variables == {"A": "one", "B": "three"}
    assert alone.open("u2", await alone.store.secret("u2", "A")) == "two"
    assert set(await alone.store.secret_keys()) == {SecretKeys.of([NEW]).current}


async def test_without_its_key_a_secret_waits_and_the_rest_goes_on(engine):
    await make_session(engine, "s", "u", 1.0)
    await environments(engine, OLD).put_secret("u", "A", "one", None)
    for lost in (environments(engine), environments(engine, NEW)):
        await lost.put_variable("u", "PLAIN", "seen")
        assert (await lost.current("s")).variables == {"PLAIN": "seen", LOCKED: "A"}
        assert lost.is_locked(await lost.store.secret("u", "A"))
    assert await environments(engine, NEW).reseal() == (0, 1)
    assert (await environments(engine, OLD).current("s")).variables == {"A": "one", "PLAIN": "seen"}
    with pytest.raises(Unavailable):
        await environments(engine).put_secret("u", "B", "x", None)


async def test_what_was_moved_in_the_store_opens_for_nobody(engine):
    made = environments(engine, NEW)
    for session_id, user_id in (("s", "u"), ("s2", "u2")):
        await make_session(engine, session_id, user_id, 1.0)
    await made.put_secret("u", "A", "hers", None)
    await made.put_secret("u", "BOUND", "for a host", "example.com")
    await made.put_variable("u2", "B", "his")
    keys = Keyspace("t")
    hers, bound = await made.store.secret("u", "A"), await made.store.secret("u", "BOUND")

    async def work(tr: Transaction) -> None:
        tr.set(keys.secrets.key("u2", "A"), encode(hers))
        tr.set(keys.secrets.key("u", "BOUND"), encode(bound.model_copy(update={"host": None})))
        tr.set(keys.secrets.key("u", "C"), encode(hers.model_copy(update={"name": "C"})))

    await transact(engine, work)
    assert (await made.current("s2")).variables == {"B": "his", LOCKED: "A"}
    assert (await made.current("s")).variables == {"A": "hers", LOCKED: "BOUND,C"}
    with pytest.raises(SecretLocked):
        made.open("u2", await made.store.secret("u2", "A"))


async def test_a_secret_for_a_host_is_no_variable_and_values_are_in_no_repr(engine):
    await make_session(engine, "s", "u", 1.0)
    made = environments(engine, NEW)
    await made.put_secret("u", "A", "hidden-value", "example.com")
    await made.put_secret("u", "B", "hidden-value", None)
    found = await made.current("s")
    assert list(found.variables) == ["B"]
    assert "hidden-value" not in f"{found!r} {await made.store.secret('u', 'B')!r}"
