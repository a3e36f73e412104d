"""Addresses that are accepted as names of accounts, and those that are one."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.errors.requests import InvalidArgument
from cluster.emails import key_of, prepare

COMPOSED = "jos\u00e9@example.com"


@pytest.mark.parametrize(
    "spellings",
    [
        [COMPOSED, "jose\u0301@example.com", "JOSE\u0301@EXAMPLE.com", " jos\u00e9@example.com "],
        ["ada@example.com", "ADA@Example.COM", "\uff41da@example.com"],
        ["x@b\u00fccher.example", "x@xn--bcher-kva.example", "x@BU\u0308CHER.example"],
        ["stra\u00dfe@example.com", "STRA\u1e9eE@example.com"],
        ["\u0130x@example.com", "i\u0307x@example.com"],
    ],
    ids=lambda spellings: spellings[0],
)
def test_spellings_of_one_address_are_one_account(spellings):
    assert len({prepare(each).key for each in spellings}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("stra\u00dfe@example.com", "strasse@example.com"),
        ("x@stra\u00dfe.example", "x@strasse.example"),
        ("\u0131x@example.com", "ix@example.com"),
        ("a.b@example.com", "ab@example.com"),
    ],
)
def test_addresses_of_two_people_are_two(one, other):
    assert prepare(one).key != prepare(other).key


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "a@b@example.com",
        "a b@example.com",
        "ada\u200b@example.com",  # zero width space
        "a\u00adda@example.com",  # soft hyphen
        "\ufeffada@example.com",  # byte-order mark
        "ada\u202e@example.com",  # right to left from here
        "ada\u2066@example.com",
        "ada\x00@example.com",
        "ada\x1b[31m@example.com",
        "ada\ud800@example.com",
        "\u0661a@example.com",  # an Arabic digit before a Latin letter reads either way
        "\ufb01x@example.com",  # a ligature
        "ada@exam ple.com",
        "ada@exa\u200bmple.com.",
        "ada@example..com",
        "ada@-example.com",
        "ada@xn--a.com",
        "ada@[127.0.0.1]",
        "x" * 65 + "@example.com",
        "x@" + ".".join(["y" * 63] * 5),
    ],
)
def test_what_nobody_can_see_or_type_is_no_address(email):
    with pytest.raises(InvalidArgument):
        prepare(email)
    assert isinstance(key_of(email), str)


def test_an_address_is_shown_as_people_read_it():
    address = prepare("Jose\u0301@XN--BCHER-KVA.example")
    assert address.shown == "jos\u00e9@b\u00fccher.example"
    assert address.key == "jos\u00e9@xn--bcher-kva.example"
    assert prepare("admin@localhost").shown == "admin@localhost"


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=12), st.sampled_from(["x.y", "b\u00fc.de"]))
def test_a_prepared_address_stays_as_it_is_and_has_no_other_spelling(local, domain):
    try:
        address = prepare(f"{local}@{domain}")
    except InvalidArgument:
        return
    assert prepare(address.shown) == address
    assert prepare(address.key) == address
    for form in ("NFC", "NFD"):
        assert prepare(unicodedata.normalize(form, address.shown)) == address
