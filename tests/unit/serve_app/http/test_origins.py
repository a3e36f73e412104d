"""The page that a request comes from, and the names of an origin's cookies."""

from __future__ import annotations

import pytest

from serve_app.http.origins import CookieNames, Origin, Origins, parse

PUBLIC = "https://code.example.com"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://a.example", Origin("http", "a.example", 80)),
        ("https://A.Example:443/x", Origin("https", "a.example", 443)),
        ("wss://a.example:8443", Origin("https", "a.example", 8443)),
        ("http://[::1]:8080", Origin("http", "::1", 8080)),
        ("null", None),
        ("", None),
        ("file:///etc", None),
        ("http://", None),
        ("http://[", None),
        ("http://a:b", None),
        ("http://a:99999", None),
        ("http://user@a.example", Origin("http", "a.example", 80)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url, origin):
    assert parse(url) == origin


@pytest.mark.parametrize(
    ("public", "scheme", "host", "origin", "ours"),
    [
        (None, "http", "127.0.0.1:8080", "http://127.0.0.1:8080", True),
        (None, "ws", "127.0.0.1:8080", "http://127.0.0.1:8080", True),
        (None, "http", "127.0.0.1:8080", "https://127.0.0.1:8080", False),
        (None, "http", "127.0.0.1:8080", "http://127.0.0.1:9090", False),
        (None, "http", "127.0.0.1:8080", "http://localhost:8080", False),
        (None, "http", "a.example", "http://a.example:80", True),
        (None, "https", "a.example", "https://a.example", True),
        (None, "http", "", "http://", False),
        (PUBLIC, "http", "code.example.com", PUBLIC, True),
        (PUBLIC, "http", "code.example.com:8080", PUBLIC, True),
        (PUBLIC, "http", "code.example.com", "http://code.example.com", False),
        (PUBLIC, "http", "code.example.com", "https://evil.code.example.com", False),
        (PUBLIC, "http", "127.0.0.1:8080", "http://127.0.0.1:8080", True),
        (PUBLIC, "http", "127.0.0.1:8080", PUBLIC, True),
    ],
)
def test_a_page_of_another_scheme_host_or_port_is_not_ours(public, scheme, host, origin, ours):
    assert Origins(public, secure=False).admits(origin, scheme, host) is ours


@pytest.mark.parametrize(
    ("public", "secure", "host", "names"),
    [
        (None, False, "127.0.0.1:8080", "coditect_{}_8080"),
        (None, False, "127.0.0.1:9090", "coditect_{}_9090"),
        (None, False, "a.example", "coditect_{}_80"),
        (None, True, "a.example:8080", "__Host-coditect_{}_8080"),
        (PUBLIC, False, "code.example.com:8080", "__Host-coditect_{}_443"),
        (PUBLIC, False, "127.0.0.1:8080", "coditect_{}_8080"),
        (None, False, "nonsense[", "coditect_{}_0"),
    ],
)
def test_cookies_are_named_after_the_port_and_bound_to_the_host_over_tls(
    public, secure, host, names
):
    path = "/" if names.startswith("__Host-") else "/api/v1/auth"
    expected = CookieNames(*map(names.format, ("access", "refresh", "device")), path)
    assert Origins(public, secure=secure).cookies("http", host) == expected
