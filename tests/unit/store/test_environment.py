"""Users' environments in the store: limits, versions, keys that are counted, and whose they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors.core.errors.limits import QuotaExceeded
from actors.core.errors.requests import AlreadyExists, NotFound
from actors.core.quotas import Quotas, Resource
from actors.core.records.environment import (
    Binding,
    SecretRecord,
    SecretUse,
    VariableRecord,
    size_of,
)
from actors.core.records.sessions import SessionPhase, SessionRecord
from cluster.store.engines.interface import Engine
from cluster.store.layers import usage
from cluster.store.layers.accounts.environment import EnvironmentStore
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import sessions
from cluster.store.transactions.transaction import transact
from tests.fakes.engines import CALLERS_ENGINES, opened_engine

FREE = Quotas()


@pytest.fixture(params=CALLERS_ENGINES)
async def engine(request, tmp_path) -> AsyncIterator[Engine]:
    async with opened_engine(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def store(engine) -> EnvironmentStore:
    return EnvironmentStore(engine, "t")


def variable(name: str, value: str = "v", at: float = 1.0) -> VariableRecord:
    return VariableRecord(name=name, value=value, created_at=at, updated_at=at)


def secret(name: str, key_id: str = "k1", sealed: str = "00", size: int = 10) -> SecretRecord:
    return SecretRecord(
        name=name, key_id=key_id, sealed=sealed, size=size, created_at=1.0, updated_at=1.0
    )


async def used(engine: Engine, user_id: str) -> tuple[int, int]:
    found = await transact(engine, usage.of_user, Keyspace("t"), user_id, FREE)
    return found[Resource.VARIABLES].used, found[Resource.VARIABLE_BYTES].used


async def make_session(engine: Engine, session_id: str, user_id: str, at: float) -> None:
    record = SessionRecord(
        session_id=session_id,
        tenant_id="t",
        user_id=user_id,
        name=session_id,
        phase=SessionPhase.HIBERNATED,
        epoch=1,
        workspace_id=f"w-{session_id}",
        created_at=at,
        updated_at=at,
        last_activity=at,
    )
    await transact(engine, sessions.create, Keyspace("t"), record, None, at)


async def test_a_variable_set_again_keeps_its_birth_and_raises_the_version_only_when_it_changes(
    store,
):
    assert await store.version("u") == 0
    assert await store.put_variable("u", variable("A", at=1.0), FREE) == (variable("A"), True)
    assert await store.version("u") == 1
    assert await store.put_variable("u", variable("A", at=2.0), FREE) == (variable("A"), False)
    assert await store.version("u") == 1
    changed, created = await store.put_variable("u", variable("A", "w", at=3.0), FREE)
    assert (changed.created_at, changed.updated_at, created) == (1.0, 3.0, False)
    assert await store.version("u") == 2
    await store.delete_variable("u", "A")
    assert await store.version("u") == 3
    with pytest.raises(NotFound):
        await store.delete_variable("u", "A")
    with pytest.raises(NotFound):
        await store.variable("u", "A")


async def test_a_name_is_a_variable_or_a_secret(store):
    await store.put_variable("u", variable("A"), FREE)
    await store.put_secret("u", secret("B"), FREE)
    with pytest.raises(AlreadyExists, match="variable 'A'"):
        await store.put_secret("u", secret("A"), FREE)
    with pytest.raises(AlreadyExists, match="secret 'B'"):
        await store.put_variable("u", variable("B"), FREE)


async def test_one_header_of_one_place_has_one_secret_however_it_is_spelt(store):
    def bound(name: str, host: str, binding: Binding) -> SecretRecord:
        return secret(name).model_copy(update={"host": host, "binding": binding})

    secure, key = Binding(https=True), Binding(https=True, use=SecretUse.HEADER, header="X-Key")
    await store.put_secret("u", bound("A", "a.test", secure), FREE)
    await store.put_secret("u", bound("A", "a.test:443", secure), FREE)  # itself, spelt anew
    lower = Binding(https=True, header="authorization")
    for host, binding in (("a.test", secure), ("a.test:443", secure), ("a.test", lower)):
        with pytest.raises(AlreadyExists, match="secret of this header 'A'"):
            await store.put_secret("u", bound("B", host, binding), FREE)
    for name, host, binding in (
        ("C", "a.test:8443", secure),
        ("D", "a.test", key),
        ("E", "a.test", Binding()),
    ):
        await store.put_secret("u", bound(name, host, binding), FREE)


async def test_users_see_their_own_in_pages(store):
    for name in ("C", "A", "B"):
        await store.put_variable("u", variable(name), FREE)
        await store.put_secret("u", secret(f"S_{name}"), FREE)
    await store.put_variable("u2", variable("D"), FREE)
    assert [each.name for each in await store.variables("u", limit=2)] == ["A", "B"]
    assert [each.name for each in await store.variables("u", after="B")] == ["C"]
    assert [each.name for each in await store.secrets("u", after="S_A")] == ["S_B", "S_C"]
    assert [each.name for each in await store.variables("u2")] == ["D"]
    with pytest.raises(NotFound):
        await store.variable("u2", "A")


async def test_count_and_bytes_are_limited_exactly_also_by_two_at_once(store, engine):
    limits = Quotas(variables=2, variable_bytes=30)
    await store.put_variable("u", variable("A", "x" * 7), limits)
    await store.put_secret("u", secret("B", size=10), limits)
    assert await used(engine, "u") == (2, 20)
    with pytest.raises(QuotaExceeded) as refused:
        await store.put_variable("u", variable("C", ""), limits)
    assert (refused.value.resource, refused.value.used, refused.value.limit) == ("variables", 2, 2)
    with pytest.raises(QuotaExceeded, match="variable bytes"):
        await store.put_variable("u", variable("A", "x" * 18), limits)
    await store.put_variable("u", variable("A", "x" * 17), limits)
    await store.delete_secret("u", "B")
    assert await used(engine, "u") == (1, 20)
    both = [store.put_variable("u", variable(name, ""), limits) for name in ("D", "E")]
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert sum(isinstance(each, QuotaExceeded) for each in outcomes) == 1
    assert await used(engine, "u") == (2, 20 + size_of("D", ""))
    await store.put_variable("u2", variable("A"), limits)  # another's limits are another's


async def test_less_is_always_allowed(store):
    await store.put_variable("u", variable("A", "x" * 50), FREE)
    tight = Quotas(variables=1, variable_bytes=5)
    await store.put_variable("u", variable("A", "x"), tight)
    await store.delete_variable("u", "A")


async def test_secrets_are_counted_by_the_key_that_seals_them(store):
    await store.put_secret("u", secret("A"), FREE)
    await store.put_secret("u2", secret("A"), FREE)
    assert await store.secret_keys() == {"k1": 2}
    await store.put_secret("u", secret("A", "k2"), FREE)
    assert await store.secret_keys() == {"k1": 1, "k2": 1}
    await store.delete_secret("u2", "A")
    assert await store.secret_keys() == {"k2": 1}


async def test_a_secret_that_changed_meanwhile_is_not_sealed_over(store):
    old = secret("A")
    await store.put_secret("u", old, FREE)
    assert await store.all_secrets() == [("u", old)]
    new = old.model_copy(update={"key_id": "k2", "sealed": "11"})
    await store.put_secret("u", secret("A", sealed="ff"), FREE)
    assert not await store.reseal("u", old, new)
    current = await store.secret("u", "A")
    version = await store.version("u")
    assert await store.reseal("u", current, new)
    assert await store.secret("u", "A") == new
    assert (await store.secret_keys(), await store.version("u")) == ({"k2": 1}, version)
    assert await store.all_secrets(("u", "A")) == []


async def test_a_session_has_what_its_user_set(store, engine):
    await make_session(engine, "s", "u", 5.0)
    assert (await store.of_session("s")).version == 0
    await store.put_variable("u", variable("A"), FREE)
    await store.put_secret("u", secret("B"), FREE)
    await store.put_variable("u2", variable("C"), FREE)
    await store.change_preferences("u", {"time_zone": "UTC"}, 6.0)
    found = await store.of_session("s")
    assert (found.user_id, found.version) == ("u", 3)
    assert [each.name for each in (*found.variables, *found.secrets)] == ["A", "B"]
    assert found.preferences.time_zone == "UTC"
    with pytest.raises(NotFound):
        await store.of_session("nobody's")


async def test_dotfiles_are_for_workspaces_that_are_newer_and_have_had_none(store, engine):
    await make_session(engine, "older", "u", 5.0)
    await store.change_preferences("u", {"dotfiles_repository": "https://h/d"}, 6.0)
    await make_session(engine, "newer", "u", 7.0)
    assert not (await store.of_session("older")).dotfiles
    assert (await store.of_session("newer")).dotfiles
    await store.change_preferences("u", {"shell": "/bin/sh"}, 8.0)
    assert (await store.of_session("newer")).dotfiles  # the repository is the same
    await store.note_dotfiles("newer")
    assert not (await store.of_session("newer")).dotfiles
    await store.change_preferences("u", {"dotfiles_repository": None}, 9.0)
    await make_session(engine, "newest", "u", 10.0)
    assert not (await store.of_session("newest")).dotfiles


async def test_preferences_that_stay_raise_no_version(store):
    await store.change_preferences("u", {"shell": "/bin/sh"}, 1.0)
    assert await store.version("u") == 1
    await store.change_preferences("u", {"shell": "/bin/sh"}, 2.0)
    assert await store.version("u") == 1
    assert (await store.change_preferences("u", {"shell": None}, 3.0)).shell is None
    assert await store.version("u") == 2
