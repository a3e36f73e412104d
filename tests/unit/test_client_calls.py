"""The two clients: every call of the API is a method of both, and they take the same arguments.

``tests/support/typed_programs.py`` has what type checkers and editors know of them.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.codi.programs import frames as program_frames
from cluster.codi.terminals import frames
from cluster.identifiers import new_id
from cluster.settings import Settings
from coditect import (
    ApiError,
    AsyncClient,
    AsyncProgram,
    AsyncTerminal,
    Client,
    Program,
    Terminal,
    program,
    terminal_state,
)
from serve_app.api import create_app
from tests.unit.test_client_http import answering, response

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "login": ("a@example.com", "secret"),
    "change_password": ("old", "new"),
    "create_user": ("a@example.com", "secret"),
    "change_user": ("u-1",),
    "drain_node": ("n-1",),
    "disable_user": ("u-1",),
    "set_quotas": ("u-1",),
    "keep_awake": ("s-1", 60.0),
    "set_network": ("s-1", "none"),
    "patch_workspace_state": ("s-1", {}),
    "exec": ("s-1", ["true"]),
    "start_process": ("s-1", "p", ["true"]),
    "signal_process": ("s-1", "p", "TERM"),
    **dict.fromkeys(("process", "wait_for_process", "end_process", "process_output"), ("s-1", "p")),
    "add_ssh_key": ("ssh-ed25519 AAAA",),
    "remove_ssh_key": ("k-1",),
    **dict.fromkeys(
        ("port", "share_port", "stop_port", "port_link", "end_port_links"), ("s-1", 8000)
    ),
    "history": ("s-1", "f"),
    "restore_file": ("s-1", "f", 1),
    "write_file": ("s-1", "f", b""),
    "unpack": ("s-1", "d", b""),
    "search": ("s-1", "x"),
    "watch": ("s-1",),
    "move": ("s-1", "f", "g"),
    **dict.fromkeys(("variable", "delete_variable", "secret", "delete_secret"), ("A",)),
    **dict.fromkeys(("set_variable", "set_secret"), ("A", "value")),
    **dict.fromkeys(("read_file", "stream_file", "delete_file", "make_directory"), ("s-1", "f")),
    **dict.fromkeys(("start_terminal", "end_terminal", "output"), ("s-1", "t")),
    **dict.fromkeys(
        (
            "session",
            "end_session",
            "hibernate",
            "network",
            "resume",
            "processes",
            "named_processes",
            "tree",
            "terminals",
            "stream_directory",
            "ports",
        ),
        ("s-1",),
    ),
}
"""Arguments of each call; the calls that are not here take none."""

NO_REQUEST = {"close", "terminal", "program", "forward_port", "events", "renew", "ssh_stream"}
NO_REQUEST |= {"upload_directory", "download_directory"}  # of unpack, and of stream_directory
INSIDE = {"connect", "unread", "listen"}
"""Methods of ``AsyncTerminal`` that are for the client itself."""


def methods(kind: type) -> dict[str, Any]:
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: method for name, method in found if not name.startswith("_")}


async def test_every_call_of_the_api_has_a_method():
    deps: Any = SimpleNamespace(settings=Settings(), new_id=new_id)
    document = create_app(deps).openapi()
    wanted = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    asked: set[tuple[str, str]] = set()
    async with answering(lambda _: response(404, b"{}")) as (url, heads):
        client = AsyncClient(url, access_token="t", refresh_token="r")
        async with client:
            for name in methods(AsyncClient).keys() - NO_REQUEST:
                heads.clear()
                with contextlib.suppress(ApiError):
                    answer = getattr(client, name)(*ARGUMENTS.get(name, ()))
                    if isinstance(answer, AsyncIterator):
                        await anext(answer)
                    else:
                        await answer
                method, path, _ = heads[0].split(" ", 2)
                asked |= {each for each in wanted if matches(each, method, path.split("?")[0])}
    # HEAD is GET without the body, and no client of files needs it.
    missing = {each for each in wanted - asked if each[0] != "HEAD"}
    assert not missing


def matches(operation: tuple[str, str], method: str, path: str) -> bool:
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]*", re.escape(operation[1]))
    return operation[0] == method and re.fullmatch(pattern, path) is not None


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [(Client, AsyncClient), (Terminal, AsyncTerminal), (Program, AsyncProgram)],
)
def test_both_clients_have_the_same_calls_with_the_same_arguments(blocking, asynchronous):
    theirs, ours = methods(asynchronous), methods(blocking)
    assert ours.keys() == theirs.keys() - INSIDE - {"renew"}
    for name, method in ours.items():
        assert plain(method) == plain(theirs[name]), name
        assert inspect.getdoc(method) == inspect.getdoc(theirs[name]) or name == "close"


def test_both_clients_are_made_alike():
    assert plain(Client.__init__) == plain(AsyncClient.__init__)


def plain(method: Any) -> str:
    """Return a signature; what is asynchronous in one is not returned by the other."""
    signature = inspect.signature(method)
    returned = str(signature.return_annotation).replace("Async", "")
    return str(signature.replace(return_annotation=returned))


def test_client_and_server_agree_which_terminals_are_programs():
    assert terminal_state.AUTOMATION_PREFIX == frames.AUTOMATION_PREFIX


def test_client_and_server_agree_how_much_input_may_be_under_way():
    assert program.WINDOW == program_frames.WINDOW


@pytest.mark.parametrize("argv", ["ls -la", b"ls", ["sleep", 2], [b"ls"]])
async def test_a_line_instead_of_a_list_of_arguments_is_refused_before_it_is_sent(argv):
    async with (
        answering(lambda _: response(200, b"{}")) as (url, heads),
        AsyncClient(url) as client,
    ):
        with pytest.raises(TypeError, match="argv"):
            await client.exec("s-1", argv)
    assert heads == []
