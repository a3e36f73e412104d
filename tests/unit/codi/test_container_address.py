"""Addresses of containers, and a CODI that is known by a digest and by its start."""

from __future__ import annotations

from hashlib import sha256

import pytest

from cluster.codi.agent.errors import AgentError
from cluster.codi.agent.programs.guard import Guard
from cluster.container_address import Address, parse
from cluster.identity_tokens import access


def test_an_address_of_this_network_needs_nothing_else():
    assert parse("127.0.0.1:80") == Address("127.0.0.1", 80, "127.0.0.1:80")
    assert parse("[::1]:80").host == "::1"
    assert parse("127.0.0.1:80").websocket == "ws://127.0.0.1:80"


def test_an_address_behind_a_front_has_an_audience_and_a_start():
    found = parse("https://a.run.app#b1")
    assert (found.host, found.port, found.secure) == ("a.run.app", 443, True)
    assert (found.audience, found.boot) == ("https://a.run.app", "b1")
    assert (found.http, found.websocket) == ("https://a.run.app", "wss://a.run.app")
    assert parse("http://127.0.0.1:81#b1").audience == "http://127.0.0.1:81"


@pytest.mark.parametrize("bad", ["ftp://a", "https://", "https://a/path", "https://a?b", "a"])
def test_what_is_no_address_is_refused(bad):
    with pytest.raises(ValueError, match=r"address|invalid literal"):
        parse(bad)


async def test_no_token_is_fetched_for_this_network():
    assert await access(parse("127.0.0.1:80")) == {}


def test_a_caller_is_known_by_the_digest_of_the_secret():
    guard = Guard("", digest=sha256(b"s").hexdigest())
    guard.check_secret({"x-codi-secret": "s"})
    for wrong in ("", "t", sha256(b"s").hexdigest()):
        with pytest.raises(AgentError) as refused:
            guard.check_secret({"x-codi-secret": wrong})
        assert refused.value.status == 401


def test_what_is_meant_for_a_former_start_is_refused_and_binds_nothing():
    guard = Guard("s", boot="b2")
    sent = {"x-codi-secret": "s", "x-codi-session": "s-1", "x-codi-epoch": "1"}
    with pytest.raises(AgentError) as refused:
        guard.admit(sent | {"x-codi-boot": "b1"})
    assert (refused.value.status, refused.value.code) == (503, "restarted")
    assert guard.session_id is None
    guard.admit(sent | {"x-codi-boot": "b2"})
    guard.admit(sent)
    assert guard.session_id == "s-1"
