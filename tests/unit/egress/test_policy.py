"""What a session may reach by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors.access import PermissionDenied
from actors.core.errors.requests import InvalidArgument
from actors.core.records.egress import EgressPolicy, NetworkRecord
from cluster.egress.policy import (
    Choice,
    HostPattern,
    Rules,
    choose,
    decide,
    in_force,
    normal,
    parse_hosts,
    split,
)
from cluster.settings import load
from cluster.wiring.egress_rules import rules as rules_of

NONE, ALLOW_LIST, INTERNET = EgressPolicy


def record(policy: EgressPolicy, *allow: str) -> NetworkRecord:
    return NetworkRecord(session_id="s", policy=policy, allow=allow, updated_at=0.0)


@pytest.mark.parametrize(
    ("pattern", "host", "port", "expected"),
    [
        ("packages.example", "packages.example", 443, True),
        ("packages.example", "evil-packages.example", 443, False),
        ("packages.example", "www.packages.example", 443, False),
        ("Packages.Example.", "packages.example", 80, True),
        ("packages.example:443", "packages.example", 80, False),
        ("*.packages.example", "files.packages.example", 443, True),
        ("*.packages.example", "a.b.packages.example", 443, True),
        ("*.packages.example", "packages.example", 443, False),
        ("*.packages.example", "evilpackages.example", 443, False),
        ("*", "anything", 1, True),
        ("*:443", "anything", 80, False),
        ("[2606::1]:443", "2606::1", 443, True),
        ("2606::1", "2606::1", 80, True),
        ("1.1.1.1", "1.1.1.1", 53, True),
        ("müller.example", "xn--mller-kva.example", 80, True),
    ],
)
def test_patterns(pattern, host, port, expected):
    assert HostPattern.parse(pattern).matches(host, port) is expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "a b", "*.*", "a*.b", "*.", "*.1.1.1.1", "host:0", "host:65536", "host:x", "[::1"),
        *("a/b", "a..b", "x" * 300, "http://host", "a@b", "\u0130\ud800"),
    ],
)
def test_what_is_no_host_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        HostPattern.parse(text)


@given(st.text(max_size=400))
def test_reading_a_host_never_fails_otherwise(text):
    for read in (normal, split, HostPattern.parse):
        try:
            read(text)
        except ValueError:
            continue


def test_a_pattern_reads_what_it_writes():
    for text in ("packages.example", "*.packages.example:443", "*", "[2606::1]:443", "[2606::1]"):
        assert str(HostPattern.parse(text)) == text


def test_the_default_and_the_limit():
    assert in_force(Rules(), None) == Choice(INTERNET)
    assert in_force(Rules(default=INTERNET, limit=NONE), record(INTERNET)) == Choice(NONE)
    listed = Rules(limit=ALLOW_LIST, allow=parse_hosts("a.test"))
    assert in_force(listed, record(INTERNET)) == Choice(ALLOW_LIST, parse_hosts("a.test"))
    assert in_force(listed, record(ALLOW_LIST, "b.test")).allow == parse_hosts("b.test")
    assert in_force(listed, record(NONE)) == Choice(NONE)


def test_decisions_name_their_rule():
    rules = Rules(hosts=parse_hosts("mirror.corp:8080"))
    allow = Choice(ALLOW_LIST, parse_hosts("a.test:443"))
    assert decide(rules, Choice(NONE), "mirror.corp", 8080).rule == "none"
    assert decide(rules, Choice(INTERNET), "a.test", 1).rule is None
    assert decide(rules, allow, "a.test", 443).rule is None
    assert decide(rules, allow, "a.test", 80).rule == "allow_list"
    assert decide(rules, allow, "mirror.corp", 8080).private
    assert not decide(rules, Choice(INTERNET), "mirror.corp", 22).private


def test_the_servers_list_bounds_a_sessions_list():
    rules = Rules(limit=ALLOW_LIST, allow=parse_hosts("*.ok.test"))
    choice = Choice(ALLOW_LIST, parse_hosts("a.ok.test,evil.test"))
    assert decide(rules, choice, "a.ok.test", 1).rule is None
    assert decide(rules, choice, "b.ok.test", 1).rule == "allow_list"
    assert decide(rules, choice, "evil.test", 1).rule == "server_allow_list"


def test_owners_choose_within_the_limit():
    assert choose(Rules(), ALLOW_LIST, ["B.test", "a.test:1", "b.test"]) == ("b.test", "a.test:1")
    assert choose(Rules(), INTERNET, []) == ()
    with pytest.raises(PermissionDenied, match="limit is allow-list"):
        choose(Rules(limit=ALLOW_LIST), INTERNET, [])
    for policy, allow in ((INTERNET, ["a.test"]), (ALLOW_LIST, ["a b"]), (ALLOW_LIST, ["a"] * 201)):
        with pytest.raises(InvalidArgument, match="allow"):
            choose(Rules(), policy, allow)


@pytest.mark.parametrize(("port", "private"), [(7420, False), (31_000, False), (5432, True)])
def test_ports_of_nodes_are_reached_by_no_rule(port, private):
    head = load({"node_address": "10.0.0.1", "egress_hosts": "10.0.0.1,*.corp"}, environment={})
    for host in ("10.0.0.1", "db.corp"):
        assert decide(rules_of(head), Choice(INTERNET), host, port).private is private
