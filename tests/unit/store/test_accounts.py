"""Accounts, refresh tokens, tickets, the audit trail and server keys, also while the store fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors.core.errors.access import Unauthenticated
from actors.core.errors.requests import AlreadyExists, NotFound
from actors.core.records.accounts import AuditEntry, RefreshTokenRecord, Role, UserRecord
from cluster.store.engines.interface import Engine
from cluster.store.layers.accounts.audit import AuditLog
from cluster.store.layers.accounts.server_keys import KeyStore
from cluster.store.layers.accounts.tokens import TokenStore
from cluster.store.layers.accounts.users import UserStore
from cluster.store.layers.codec import encode
from cluster.store.layers.keyspace import Directory, Keyspace
from cluster.store.transactions.transaction import Transaction, transact
from tests.fakes.engines import CALLERS_ENGINES, opened_engine


@pytest.fixture(params=CALLERS_ENGINES)
async def engine(request, tmp_path) -> AsyncIterator[Engine]:
    async with opened_engine(request.param, tmp_path) as opened:
        yield opened


def user(number: int, email: str = "") -> UserRecord:
    return UserRecord(
        user_id=f"u-{number}",
        tenant_id="t",
        email=email or f"user{number}@example.com",
        password_hash="hash",
        created_at=1.0,
    )


def token(
    name: str, family: str = "f", created_at: float = 0.0, expires_at: float = 1000.0
) -> RefreshTokenRecord:
    return RefreshTokenRecord(
        token_id=name,
        tenant_id="t",
        family_id=family,
        user_id="u-1",
        secret_hash="hash",
        created_at=created_at,
        expires_at=expires_at,
    )


async def stored(engine: Engine, directory: Directory) -> set[str]:
    """Return the last part of every key of a branch."""

    async def work(tr: Transaction) -> set[str]:
        pairs = await tr.get_range(directory.range())
        return {str(directory.unpack(key)[-1]) for key, _ in pairs}

    return await transact(engine, work)


async def rotate(store: TokenStore, old: str, new: str, now: float):
    return await store.rotate(
        old, token(new), sealed_secret=f"sealed-{new}", now=now, overlap_seconds=30
    )


async def test_an_address_has_one_account_in_whatever_case(engine):
    users = UserStore(engine, "t")
    await users.create(user(1, "Ann@Example.com"))
    with pytest.raises(AlreadyExists):
        await users.create(user(2, "ann@example.COM"))
    found = await users.by_email("ANN@example.com")
    assert found is not None
    assert found.user_id == "u-1"
    assert await users.by_email("bob@example.com") is None


async def test_of_many_who_register_one_address_at_once_one_succeeds(engine):
    users = UserStore(engine, "t")
    results = await asyncio.gather(
        *(users.create(user(number, "same@example.com")) for number in range(8)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, UserRecord) for result in results) == 1


async def test_accounts_are_listed_changed_and_kept_apart_by_tenant(engine):
    users = UserStore(engine, "t")
    for number in range(5):
        await users.create(user(number))
    first = await users.page(limit=2)
    rest = await users.page(after=first[-1].user_id)
    assert [record.user_id for record in (*first, *rest)] == [f"u-{n}" for n in range(5)]
    assert (await users.change("u-1", now=1.0, role=Role.ADMIN)).role is Role.ADMIN
    assert (await users.change("u-1", now=1.0, disabled=True)).disabled
    with pytest.raises(NotFound):
        await users.change("u-9", now=1.0, role=Role.ADMIN)
    assert await UserStore(engine, "other").page() == []


async def test_a_token_is_traded_and_within_the_overlap_again_for_the_same(engine):
    store = TokenStore(engine, "t")
    await store.create(token("one"))
    first = await rotate(store, "one", "two", now=10)
    again = await rotate(store, "one", "three", now=40)
    assert (first.token.token_id, first.repeated) == ("two", False)
    assert (again.token.token_id, again.sealed_secret, again.repeated) == (
        "two",
        "sealed-two",
        True,
    )


async def test_reuse_after_the_overlap_ends_the_whole_family(engine):
    store = TokenStore(engine, "t")
    await store.create(token("one"))
    await store.create(token("apart", family="g"))
    await rotate(store, "one", "two", now=10)
    with pytest.raises(Unauthenticated):
        await rotate(store, "one", "three", now=41)
    with pytest.raises(Unauthenticated):
        await rotate(store, "two", "four", now=42)
    await rotate(store, "apart", "five", now=42)


DAY = 86_400


async def test_a_stolen_token_is_noticed_however_often_the_login_was_renewed_since(engine):
    store = TokenStore(engine, "t")
    await store.create(token("t0", expires_at=10 * DAY))
    for number in range(12):
        successor = token(f"t{number + 1}", expires_at=10 * DAY)
        now = 3600.0 * number
        await store.rotate(f"t{number}", successor, sealed_secret="", now=now, overlap_seconds=30)
    with pytest.raises(Unauthenticated):
        await rotate(store, "t0", "thief", now=3600.0 * 12)
    with pytest.raises(Unauthenticated):
        await rotate(store, "t12", "t13", now=3600.0 * 12 + 1)


async def test_replaced_tokens_are_kept_for_a_day_past_the_overlap_and_no_longer(engine):
    store = TokenStore(engine, "t")
    await store.create(token("t0", expires_at=10 * DAY))

    async def go_on(old: int, now: float) -> set[str]:
        successor = token(f"t{old + 1}", expires_at=10 * DAY)
        await store.rotate(f"t{old}", successor, sealed_secret="", now=now, overlap_seconds=30)
        return await stored(engine, Keyspace("t").refresh_tokens)

    assert await go_on(0, 100) == {"t0", "t1"}
    assert await go_on(1, 100 + DAY + 30) == {"t0", "t1", "t2"}
    assert await go_on(2, 100 + DAY + 31) == {"t1", "t2", "t3"}


@pytest.mark.parametrize(("old", "now"), [("unknown", 1), ("one", 1000)])
async def test_unknown_and_expired_tokens_are_refused(engine, old, now):
    store = TokenStore(engine, "t")
    await store.create(token("one"))
    with pytest.raises(Unauthenticated):
        await rotate(store, old, "two", now=now)


async def test_expired_tokens_of_logins_that_ended_without_a_word_are_removed(engine):
    store, keys = TokenStore(engine, "t"), Keyspace("t")
    for number in range(6):
        await store.create(token(f"left-{number}", family=f"f-{number}"))
    await store.create(token("late", family="g", expires_at=9000.0))
    await store.create(token("new", family="h", created_at=999.0, expires_at=9000.0))
    assert await store.get("left-5") is not None
    await store.create(token("newer", family="i", created_at=2000.0, expires_at=9000.0))
    await store.rotate(
        "late",
        token("later", family="g", expires_at=9000.0),
        sealed_secret="sealed",
        now=2000.0,
        overlap_seconds=30,
    )
    left = {"late", "new", "newer", "later"}
    assert await stored(engine, keys.token_expiries) == left
    assert await stored(engine, keys.refresh_tokens) == left
    assert await stored(engine, keys.token_families) == left


async def test_the_audit_trail_forgets_what_is_older_than_it_is_kept(engine):
    log = AuditLog(engine, "t", keep_seconds=100.0)

    async def append(*times: float) -> None:
        await log.append(
            [
                AuditEntry(timestamp=at, tenant_id="t", user_id=None, action="a", resource="r")
                for at in times
            ]
        )

    await append(1.0, 2.0, 3.0, 50.0, 101.0)
    assert [entry.timestamp for entry in await log.newest()] == [101.0, 50.0, 3.0, 2.0, 1.0]
    await append(110.0, 111.0)
    assert [entry.timestamp for entry in await log.newest()] == [111.0, 110.0, 101.0, 50.0]


async def test_the_audit_trail_is_in_the_order_of_the_commits(engine):
    log = AuditLog(engine, "t")
    entries = [
        AuditEntry(timestamp=float(-n), tenant_id="t", user_id=None, action=f"a{n}", resource="r")
        for n in range(5)
    ]
    await log.append(entries)
    assert [entry.action for entry in await log.newest(3)] == ["a4", "a3", "a2"]


async def test_the_first_secret_of_a_name_is_kept_for_all(engine):
    keys = KeyStore(engine, "t")
    made = iter([b"first", b"second", b"third"])
    assert await keys.get_or_create("jwt", lambda: next(made)) == b"first"
    assert await keys.get_or_create("jwt", lambda: next(made)) == b"first"
    assert await keys.get_or_create("other", lambda: next(made)) == b"third"


async def test_ended_logins_are_reported_in_order_each_once_and_forgotten_when_old(engine):
    store = TokenStore(engine, "t", keep_ended=100.0)
    for family in ("f", "g", "h"):
        await store.create(token(f"one-{family}", family=family))
    assert await store.ended_after(None) == []
    await store.revoke_family("g", now=10.0)
    await store.revoke_family("g", now=11.0)
    await store.revoke_family("unknown", now=11.0)
    await store.revoke_family("f", now=12.0)
    ended = await store.ended_after(None)
    assert [(login.family_id, login.at) for login in ended] == [("g", 10.0), ("f", 12.0)]
    assert await store.ended_after(ended[1].place) == []
    await store.revoke_family("h", now=111.0)
    assert [login.family_id for login in await store.ended_after(ended[1].place)] == ["h"]
    assert [login.family_id for login in await store.ended_after(None)] == ["f", "h"]


async def test_the_end_of_a_login_wakes_whoever_waits_for_one(engine):
    store = TokenStore(engine, "t")
    await store.create(token("one"))
    newest = await store.newest_end()
    waiting = asyncio.create_task(store.wait_for_end(newest, 60.0))
    await store.revoke_family("f", now=10.0)
    await asyncio.wait_for(waiting, 60)
    assert await store.newest_end() != newest


async def test_reuse_of_a_refresh_token_is_the_end_of_a_login(engine):
    store = TokenStore(engine, "t")
    await store.create(token("one"))
    await rotate(store, "one", "two", now=10)
    with pytest.raises(Unauthenticated):
        await rotate(store, "one", "three", now=41)
    assert [login.at for login in await store.ended_after(None)] == [41]


async def test_an_address_has_one_account_however_it_is_written_and_others_have_theirs(engine):
    users = UserStore(engine, "t")
    await users.create(user(1, "jos\u00e9@example.com"))
    with pytest.raises(AlreadyExists):
        await users.create(user(2, "jose\u0301@example.com"))
    await users.create(user(3, "stra\u00dfe@example.com"))
    await users.create(user(4, "strasse@example.com"))
    for number, email in ((1, "JOSE\u0301@example.com"), (3, "STRA\u1e9eE@example.com")):
        found = await users.by_email(email)
        assert found is not None
        assert found.user_id == f"u-{number}"


async def test_accounts_of_an_earlier_release_are_found_by_prepared_addresses(engine):
    """Theirs was the case-folded address, whatever its form."""
    users = UserStore(engine, "t")
    keys = Keyspace("t")
    emails = {
        1: "stra\u00dfe@example.com",
        2: "jose\u0301@example.com",  # decomposed
        3: "\u00e9@example.com",
        4: "e\u0301@example.com",  # the same person's second account
        5: "plain@example.com",
        6: "odd\u200b@example.com",  # would not be taken now
    }
    for number, email in emails.items():
        record = user(number, email)

        async def work(tr, record=record):
            tr.set(keys.user_emails.key(record.email.casefold()), record.user_id.encode())
            tr.set(keys.users.key(record.user_id), encode(record))

        await transact(engine, work)
    for _ in range(2):  # every start does it
        hidden = await users.find_by_prepared_addresses()
        assert [record.user_id for record in hidden] == ["u-4"]
    for number in (1, 2, 3, 5, 6):
        found = await users.by_email(emails[number])
        assert found is not None
        assert found.user_id == f"u-{number}"
    await users.create(user(7, "strasse@example.com"))
