"""Tokens identify somebody until they expire, and nothing else does."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors.access import Unauthenticated
from actors.core.records.accounts import Role
from serve_app.auth.refresh_tokens import seal
from serve_app.auth.tokens import Login, Signer


def signer(key: bytes = b"k" * 32, tenant: str = "t") -> Signer:
    numbers = count()
    return Signer(key, tenant, lambda prefix: f"{prefix}-{next(numbers)}")


def test_a_token_identifies_until_it_expires():
    token = signer().access_token(Login("u-1", "f-1", 3), Role.ADMIN, now=100.0, ttl=10.0)
    claims = signer().read_access_token(token, 109.0)
    assert (claims.login, claims.role) == (Login("u-1", "f-1", 3), Role.ADMIN)
    with pytest.raises(Unauthenticated):
        signer().read_access_token(token, 110.0)


def test_tokens_of_other_keys_tenants_and_kinds_are_refused():
    token = signer().access_token(Login("u-1", "f-1", 3), Role.USER, now=0.0, ttl=10.0)
    ticket = signer().ticket(Login("u-1", "f-1", 3), Role.USER, now=0.0)
    for read in (
        lambda: signer(b"x" * 32).read_access_token(token, 1.0),
        lambda: signer(tenant="other").read_access_token(token, 1.0),
        lambda: signer().read_access_token(ticket, 1.0),
        lambda: signer().read_ticket(token, 1.0),
        lambda: signer().read_access_token(token[:-2], 1.0),
        # "none" is no algorithm here: {"alg":"none","typ":"JWT"}
        lambda: signer().read_access_token(
            "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + token.split(".")[1] + ".", 1.0
        ),
    ):
        with pytest.raises(Unauthenticated):
            read()


@given(st.text())
def test_no_text_is_a_token(text):
    with pytest.raises(Unauthenticated):
        signer().read_access_token(text, 0.0)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.text())
def test_sealing_twice_uncovers(secret, under, name):
    assert seal(seal(secret, under, name), under, name) == secret
