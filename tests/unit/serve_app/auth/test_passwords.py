"""A password fits however a keyboard puts it together, and as it was hashed before."""

from __future__ import annotations

import asyncio
import threading
import unicodedata
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from actors.core.errors.requests import InvalidArgument
from serve_app.auth.passwords import Passwords
from serve_app.schemas.auth import MAX_PASSWORD
from tests.support.waiting import wait_until

COMPOSED = "p\u00e4ssw\u00f6rt-\u00e9\u00f1"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.fixture
def passwords(monkeypatch) -> Iterator[Passwords]:
    monkeypatch.setattr("serve_app.auth.passwords.MEMORY_KIB", 8)
    made = Passwords(parallel=1, queue=8)
    yield made
    made.close()


async def test_a_hash_costs_what_is_recommended():
    made = Passwords(parallel=1, queue=8)
    hashed = await made.hash("secret")
    made.close()
    assert hashed.split("$")[1:4] == ["argon2id", "v=19", "m=19456,t=2,p=1"]


@pytest.mark.parametrize(
    ("kept", "typed", "fits"),
    [
        (COMPOSED, DECOMPOSED, True),
        (DECOMPOSED, COMPOSED, True),
        ("two words", "two\u00a0words", True),  # Option-Space of a Mac
        ("two\u3000words", "two words", True),  # an ideographic space
        ("Stra\u00dfe", "Strasse", False),
        ("secret", "Secret", False),
        ("secret", "\uff53ecret", False),
        ("secret", "secret ", False),
        ("secret", "secret\x00", False),
        ("secret", "secret\ud800", False),
        ("four", "", False),
    ],
)
async def test_spellings_of_one_password_fit_and_others_do_not(passwords, kept, typed, fits):
    hashed = await passwords.hash(kept)
    assert await passwords.verify(hashed, kept)
    assert await passwords.verify(hashed, typed) is fits
    assert not await passwords.verify(None, kept)


@pytest.mark.parametrize("kept", [DECOMPOSED, "tab\tand\x07bell", "lone \ud800", COMPOSED])
async def test_a_hash_of_an_earlier_release_fits_what_it_was_made_of(passwords, kept):
    hashed = PasswordHasher(time_cost=1, memory_cost=64).hash(kept.encode("utf-8", "surrogatepass"))
    assert await passwords.verify(hashed, kept)


@pytest.mark.parametrize(
    "password",
    ["abc", "", "e\u0301" * 3, "tab\tbell", "x\u200byyy", "lone \ud800", "x" * (MAX_PASSWORD + 1)],
)
async def test_what_cannot_be_typed_or_is_too_short_is_not_set(passwords, password):
    with pytest.raises(InvalidArgument):
        await passwords.hash(password)


async def test_a_turn_lasts_as_long_as_its_thread_though_its_caller_has_gone(passwords):
    started, end = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        end.wait(10)

    first = asyncio.create_task(passwords._run("one", work))
    await asyncio.to_thread(started.wait, 10)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(passwords._run("two", lambda: 2))
    # In line, and not on the way to a thread that is busy.
    await wait_until(lambda: asyncio.sleep(0, passwords._turns.waiting), lambda n: n == 1)
    assert passwords.under_way == 2
    end.set()
    assert await second == 2
    assert passwords.under_way == 0
