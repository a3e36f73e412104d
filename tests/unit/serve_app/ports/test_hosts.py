"""Which hosts stand for ports, and how what is said of them is translated. No I/O."""

from __future__ import annotations

import pytest

from serve_app.ports import headers
from serve_app.ports.hosts import NotOurs, PortHost, PortHosts, Translation
from serve_app.ports.tools import safe_target

LOCAL = PortHosts("localhost", None, secure=False)
PUBLIC = PortHosts("ports.example.com", "https://code.example.com", secure=True)


@pytest.mark.parametrize(
    ("hosts", "host", "found"),
    [
        (LOCAL, "5173--s-a.localhost:8080", PortHost(5173, "s-a", "localhost:8080")),
        (LOCAL, "5173--S-A.LocalHost", PortHost(5173, "s-a", "localhost")),
        (PUBLIC, "80--s-a--b.ports.example.com", PortHost(80, "s-a--b", "ports.example.com")),
        (LOCAL, "localhost:8080", None),
        (LOCAL, "127.0.0.1:8080", None),
        (LOCAL, "[::1]:8080", None),
        (LOCAL, "evillocalhost", None),
        (LOCAL, "", None),
        (LOCAL, "80--s-a.localhost:8080:1", None),
        (PUBLIC, "ports.example.com", None),
        (PUBLIC, "80--s.example.com", None),
        (LOCAL, "x.localhost", NotOurs()),
        (LOCAL, "65536--s.localhost", NotOurs()),
        (LOCAL, "0--s.localhost", NotOurs()),
        (LOCAL, "80--s-.localhost", NotOurs()),
        (LOCAL, "80--s_a.localhost", NotOurs()),
        (LOCAL, "80--s.a.localhost", NotOurs()),
        (LOCAL, "80--s.localhost.", NotOurs()),
        (LOCAL, "\u0668\u0660--s.localhost", NotOurs()),
    ],
)
def test_a_host_stands_for_a_port_for_nothing_or_for_the_platform(hosts, host, found):
    assert hosts.find(host) == found


def test_a_platform_below_the_domain_of_its_ports_stays_the_platform():
    hosts = PortHosts("example.com", "https://code.example.com", secure=True)
    assert hosts.find("code.example.com") is None
    assert hosts.find("other.example.com") == NotOurs()
    assert hosts.find("80--s.example.com") == PortHost(80, "s", "example.com")


def test_addresses_of_ports_are_as_their_visitor_knows_the_platform():
    assert LOCAL.url("http://127.0.0.1:8080", "s", 80) == "http://80--s.localhost:8080"
    assert PUBLIC.url("https://code.example.com", "s", 80) == "https://80--s.ports.example.com"
    # localhost is the visitor's own machine, and so not ours for who comes from elsewhere.
    assert (
        LOCAL.url("http://10.0.0.7:8080", "s", 80) == "http://10.0.0.7:8080/workspaces/s/ports/80"
    )
    none = PortHosts("", None, secure=False)
    assert (
        none.url("http://localhost:8080", "s", 80) == "http://localhost:8080/workspaces/s/ports/80"
    )
    assert none.find("80--s.localhost") is None


SAID = Translation(PortHost(5173, "s", "localhost:8080"), "http")


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        ("http://5173--s.localhost:8080", "http://localhost:5173"),
        ("http://3000--s.localhost:8080", "http://localhost:3000"),
        ("http://3000--other.localhost:8080", "http://3000--other.localhost:8080"),
        ("http://5173--s.localhost:9090", "http://5173--s.localhost:9090"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://5173--s.localhost:8080/x", "http://5173--s.localhost:8080/x"),
        ("null", "null"),
        ("", ""),
    ],
)
def test_origins_of_the_same_session_are_translated_inward(outside, inside):
    assert SAID.inward(outside) == inside


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        (
            "http://localhost:5173/a?b=http://localhost:1#c",
            "http://5173--s.localhost:8080/a?b=http://localhost:1#c",
        ),
        ("http://127.0.0.1:3000", "http://3000--s.localhost:8080"),
        ("http://[::1]:3000/", "http://3000--s.localhost:8080/"),
        ("http://localhost/", "http://80--s.localhost:8080/"),
        ("http://user@localhost:80/", "http://user@localhost:80/"),
        ("http://localhost.evil.com/", "http://localhost.evil.com/"),
        ("//localhost:5173/", "//localhost:5173/"),
        ("/relative", "/relative"),
        ("http://localhost:x/", "http://localhost:x/"),
        ("*", "*"),
    ],
)
def test_what_the_program_says_of_its_machine_is_translated_outward(inside, outside):
    assert SAID.outward(inside) == outside


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        (b"a=1; Domain=localhost; Path=/", b"a=1; Path=/"),
        (b"a=1;domain=.example.com;Secure", b"a=1;Secure"),
        (b"a=domain; Path=/", b"a=domain; Path=/"),
        (b"coditect_port=x", None),
        (b" coditect_port =x; Path=/", None),
        (b"", None),
    ],
)
def test_cookies_stay_with_their_origin(cookie, kept):
    assert headers.host_only(cookie, frozenset({"coditect_port"})) == kept


def test_a_program_cannot_claim_to_have_been_sent_ours():
    sent = headers.inward(
        [(b"X-Forwarded-For", b"1"), (b"Forwarded", b"for=1"), (b"Transfer-Encoding", b"chunked")],
        SAID,
        client="9.9.9.9",
        cookies=frozenset(),
    )
    assert sent[0] == (b"host", b"localhost:5173")
    assert (b"x-forwarded-for", b"9.9.9.9") in sent
    assert (b"transfer-encoding", b"chunked") in sent
    assert not any(name == b"forwarded" for name, _ in sent)


@pytest.mark.parametrize(
    ("asked", "safe"),
    [
        ("/a?b", "/a?b"),
        ("//evil.com/", "/evil.com/"),
        ("/\\evil.com", "/evil.com"),
        ("http://evil.com", "/http://evil.com"),
        ("/a\r\nset-cookie: x", "/aset-cookie:x"),
        ("", "/"),
    ],
)
def test_a_way_in_leads_to_its_own_origin(asked, safe):
    assert safe_target(asked) == safe


@pytest.mark.parametrize(
    ("method", "sent", "foreign"),
    [
        ("GET", {}, False),  # no browser
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"}, False),
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, True),
        ("GET", {"origin": "http://5000--other.localhost:8080"}, True),  # a socket, a fetch
        ("POST", {"origin": "http://5000--other.localhost:8080"}, True),
        ("POST", {"origin": "null", "sec-fetch-mode": "navigate"}, True),
        ("POST", {"origin": "http://5173--s.localhost:8080"}, False),
        ("GET", {"origin": "http://3000--s.localhost:8080"}, False),
        (
            "GET",
            {
                "sec-fetch-site": "same-site",
                "sec-fetch-mode": "no-cors",
                "referer": "http://3000--s.localhost:8080/page",
            },
            False,
        ),
    ],
)
def test_a_page_of_another_session_is_told_from_ones_own(method, sent, foreign):
    assert headers.is_foreign(method, sent, SAID) is foreign
