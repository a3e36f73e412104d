"""SSH keys of accounts in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actors.core.errors.limits import QuotaExceeded
from actors.core.errors.requests import AlreadyExists, NotFound
from actors.core.records.accounts import SshKeyRecord
from cluster.store.engines.interface import Engine
from cluster.store.layers.accounts.ssh_keys import NOTED_EVERY_SECONDS, SshKeyStore
from cluster.store.layers.accounts.tokens import TokenStore
from tests.fakes.engines import CALLERS_ENGINES, opened_engine


@pytest.fixture(params=CALLERS_ENGINES)
async def engine(request, tmp_path) -> AsyncIterator[Engine]:
    async with opened_engine(request.param, tmp_path) as opened:
        yield opened


def key(number: int, user_id: str = "u-1", fingerprint: str = "") -> SshKeyRecord:
    return SshKeyRecord(
        key_id=f"k-{number}",
        tenant_id="t",
        user_id=user_id,
        name=f"key {number}",
        public_key="ssh-ed25519 AAAA",
        fingerprint=fingerprint or f"SHA256:{number}",
        created_at=float(number),
    )


async def test_a_key_may_be_at_several_accounts_and_once_at_each(engine):
    keys = SshKeyStore(engine, "t")
    await keys.add(key(2), limit=3)
    await keys.add(key(1), limit=3)
    await keys.add(key(9, "u-2", "SHA256:1"), limit=3)
    with pytest.raises(AlreadyExists):
        await keys.add(key(3, fingerprint="SHA256:1"), limit=3)
    assert [each.key_id for each in await keys.of_user("u-1")] == ["k-1", "k-2"]
    assert (await keys.find("u-2", "SHA256:1")).key_id == "k-9"
    assert await keys.find("u-2", "SHA256:2") is None


async def test_an_account_has_so_many_keys(engine):
    keys = SshKeyStore(engine, "t")
    await keys.add(key(1), limit=1)
    with pytest.raises(QuotaExceeded) as full:
        await keys.add(key(2), limit=1)
    assert (full.value.resource, full.value.used, full.value.limit) == ("ssh_keys", 1, 1)
    await keys.add(key(2, "u-2"), limit=1)


async def test_use_is_noted_now_and_then(engine):
    keys = SshKeyStore(engine, "t")
    await keys.add(key(1), limit=1)
    for now in (100.0, 101.0):
        await keys.note_use("u-1", "SHA256:1", now=now)
        assert (await keys.find("u-1", "SHA256:1")).last_used_at == 100.0
    await keys.note_use("u-1", "SHA256:1", now=100.0 + NOTED_EVERY_SECONDS)
    assert (await keys.find("u-1", "SHA256:1")).last_used_at == 160.0
    await keys.note_use("u-1", "SHA256:9", now=1.0)
    assert await keys.find("u-1", "SHA256:9") is None


async def test_a_removed_key_is_the_end_of_a_login(engine):
    keys, tokens = SshKeyStore(engine, "t"), TokenStore(engine, "t")
    await keys.add(key(1), limit=1)
    with pytest.raises(NotFound):
        await keys.remove("u-2", "k-1", now=5.0)
    assert (await keys.remove("u-1", "k-1", now=5.0)).name == "key 1"
    [ended] = await tokens.ended_after(None)
    assert (ended.user_id, ended.family_id, ended.at) == ("u-1", "k-1", 5.0)
    assert await keys.of_user("u-1") == []
    with pytest.raises(NotFound):
        await keys.remove("u-1", "k-1", now=6.0)
