"""No name given to the client leaves its place in a URL, whatever the call."""

from __future__ import annotations

import inspect
from typing import Any

import httpx
import pytest

from coditect import AsyncClient, addresses
from coditect.errors import InvalidRequest

NAMES = ("session_id", "path", "name", "user_id", "email", "target", "source")
IN_BODIES = {  # or in a query
    "login", "create_user", "users", "open_session", "launch_container", ("start_terminal", "name"),
    ("start_process", "name"), "add_ssh_key",
    ("upload_directory", "source"), ("download_directory", "target"), ("search", "path"),
    ("restore_file", "path"), ("restore_file", "target"),
    ("move", "source"), ("move", "target"), ("make_directory", "path"), ("audit", "user_id"),
}  # fmt: skip
VALUES: dict[str, Any] = {
    "argv": ["true"], "version": 1, "data": b"", "seconds": 1.0, "patch": {}, "limits": {},
    "limit": 1, "password": "p", "role": "user", "current": "c", "new": "n", "disabled": True,
    "port": 8000, "signal": "TERM", "command": "true", "directory": "d", "file": b"",
}  # fmt: skip
DOTS = ("..", ".")


def calls() -> list[tuple[str, str]]:
    """Return every method and each of its parameters that becomes a part of a URL."""
    found = []
    for method, function in inspect.getmembers(AsyncClient, inspect.isfunction):
        if method.startswith("_") or method in IN_BODIES:
            continue
        found += [
            (method, parameter)
            for parameter in inspect.signature(function).parameters
            if parameter in NAMES and (method, parameter) not in IN_BODIES
        ]
    return found


@pytest.mark.parametrize(("method", "parameter"), calls())
@pytest.mark.parametrize("dots", DOTS)
async def test_a_name_of_dots_is_never_sent(method, parameter, dots):
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.url.path)
        return httpx.Response(200, json={})

    async with AsyncClient("http://server.test", access_token="t") as client:
        await client._http.aclose()
        client._http = httpx.AsyncClient(
            base_url="http://server.test", transport=httpx.MockTransport(answer)
        )
        with pytest.raises(InvalidRequest):
            await consume(getattr(client, method), {parameter: dots})
    assert sent == []


async def consume(function: Any, given: dict[str, str]) -> None:
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        if name in given:
            arguments[name] = given[name]
        elif parameter.default is inspect.Parameter.empty:
            arguments[name] = VALUES.get(name, "good")
    result = function(**arguments)
    if inspect.isasyncgen(result):
        async for _ in result:
            pass
    else:
        await result


def test_the_calls_that_take_names_are_found():
    found = calls()
    assert ("delete_file", "path") in found
    assert ("end_terminal", "name") in found
    assert ("session", "session_id") in found
    assert ("set_quotas", "user_id") in found


@pytest.mark.parametrize("path", ["..", ".", "a/..", "../a", "a/../b", "a/./b", "a/..//b"])
def test_a_path_with_dot_segments_is_refused(path):
    with pytest.raises(InvalidRequest) as refused:
        addresses.path(path)
    assert refused.value.problem["field"] == "path"


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("a/b", "a/b"),
        ("...", "..."),
        ("a..b/.c", "a..b/.c"),
        ("%2e%2e", "%252e%252e"),
        ("a?b#c", "a%3Fb%23c"),
        ("a\\..\\b", "a%5C..%5Cb"),
        ("\udcff.txt", "%FF.txt"),
        ("grün", "gr%C3%BCn"),
        ("", ""),
    ],
)
def test_a_path_is_sent_to_the_byte(path, sent):
    assert addresses.path(path) == sent


@pytest.mark.parametrize("name", ["", ".", "..", "a\0b", "\ud800"])
def test_what_is_no_name_is_no_segment(name):
    with pytest.raises(InvalidRequest):
        addresses.segment(name)


def test_a_segment_has_no_slash_of_its_own():
    assert addresses.segment("x/output") == "x%2Foutput"


def test_bodies_carry_names_that_are_no_utf8():
    assert addresses.body({"path": "\udcff"}) == b'{"path":"\\udcff"}'
