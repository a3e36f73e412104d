"""CODI's small decisions: who may ask, which part of a file, which path, which error."""

import errno
import json
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors.base import Busy, CoditectError, Unavailable, Unreached
from actors.core.errors.limits import WorkspaceFull
from actors.core.errors.requests import (
    InvalidArgument,
    NotFound,
    PayloadTooLarge,
    PreconditionFailed,
)
from actors.core.errors.sessions import Fenced
from actors.core.records.sessions import Route
from cluster.codi.agent.errors import AgentError, from_os_error
from cluster.codi.agent.files.paths import Workspace, parse
from cluster.codi.agent.programs.guard import Guard
from cluster.codi.answers import Asked, error_from
from cluster.codi.bundle import Limits, bundle

ROUTE = Route(session_id="s", container_id="c", epoch=3, address="h:1", secret="s")


def headers(secret="s", session="a", epoch="1"):
    return {"x-codi-secret": secret, "x-codi-session": session, "x-codi-epoch": epoch}


class TestGuard:
    def test_a_refused_request_changes_nothing(self):
        guard = Guard("s", epoch=3)
        for wrong in (
            headers(secret="t", epoch="9"),
            headers(session="", epoch="9"),
            headers(epoch="2"),
            headers(epoch="x"),
            {},
        ):
            with pytest.raises(AgentError):
                guard.admit(wrong)
            assert (guard.epoch, guard.session_id) == (3, None)

    def test_the_fenced_caller_is_reported_what_rules(self):
        guard = Guard("s")
        guard.admit(headers(epoch="7"))
        with pytest.raises(AgentError) as refused:
            guard.admit(headers(epoch="6"))
        assert (refused.value.code, refused.value.fields) == ("fenced", {"epoch": 7})

    @given(st.lists(st.integers(0, 50)))
    def test_the_epoch_never_goes_back(self, epochs):
        guard = Guard("s")
        highest = 0
        for epoch in epochs:
            try:
                guard.admit(headers(epoch=str(epoch)))
                assert epoch >= highest
                highest = epoch
            except AgentError:
                assert epoch < highest
            assert guard.epoch == highest


class TestPaths:
    @given(st.binary(max_size=40))
    def test_a_parsed_path_has_no_way_up(self, raw):
        if raw.startswith(b"/") or b"\0" in raw or b".." in raw.split(b"/"):
            with pytest.raises(AgentError) as refused:
                parse(raw)
            assert refused.value.code == "invalid_path"
        else:
            parsed = parse(raw)
            assert parsed == b"." or not {b"", b".", b".."}.intersection(parsed.split(b"/"))

    def test_without_openat2_links_are_refused_wherever_they_lead(self, tmp_path):
        root = tmp_path / "root"
        root.joinpath("inner").mkdir(parents=True)
        root.joinpath("inner/file").write_text("x")
        root.joinpath("alias").symlink_to("inner")
        root.joinpath("out").symlink_to("..")
        workspace = Workspace(str(root))
        workspace._beneath = False
        os.close(workspace.open(b"inner/file", os.O_RDONLY))
        for path in (b"alias/file", b"out/root", b"inner/none"):
            with pytest.raises(OSError, match=r"directory|link"):
                workspace.open(path, os.O_RDONLY)


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "answer", "kind"),
        [
            (409, {"code": "fenced", "detail": "", "epoch": 9}, Fenced),
            (404, {"code": "not_found", "detail": "no file"}, NotFound),
            (412, {"code": "precondition_failed", "detail": "", "etag": '"x"'}, PreconditionFailed),
            (413, {"code": "too_large", "detail": "", "limit_bytes": 7}, PayloadTooLarge),
            (507, {"code": "disk_full", "detail": ""}, WorkspaceFull),
            (503, {"code": "exhausted", "detail": "no processes"}, Busy),
            (503, {"code": "sealed", "detail": "about to stop"}, Unreached),
            (409, {"code": "busy", "detail": "somebody works"}, PreconditionFailed),
            (400, {"code": "invalid_path", "detail": "no"}, InvalidArgument),
            (400, {"code": "invalid_argument", "detail": "cols: a number"}, InvalidArgument),
            (401, {"code": "unauthorized", "detail": ""}, Unavailable),
            (500, {"code": "of the future", "detail": "x"}, Unavailable),
            (502, [], Unavailable),
        ],
    )
    def test_an_answer_becomes_an_error_of_the_tree(self, status, answer, kind):
        error = error_from(status, json.dumps(answer).encode(), Asked(ROUTE))
        assert type(error) is kind
        assert str(error)

    @given(st.integers(400, 599), st.binary(max_size=100))
    def test_nonsense_becomes_an_error_too(self, status, content):
        assert isinstance(error_from(status, content, Asked(ROUTE)), CoditectError)

    def test_every_system_error_has_an_answer(self):
        for number in errno.errorcode:
            answer = from_os_error(OSError(number, "text"))
            assert 400 <= answer.status < 600
            assert answer.detail


class TestBundle:
    def test_a_stage_is_made_once_and_named_by_its_content(self, tmp_path):
        first = bundle(tmp_path)
        made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        second = bundle(tmp_path, Limits(max_terminals=5))
        assert first.ro_binds == second.ro_binds
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == made
        assert second.python_argv[second.python_argv.index("--max-terminals") + 1] == "5"
        assert [path.name for path in tmp_path.iterdir()] == [first.ro_binds[-1].rpartition("/")[2]]

    def test_the_agent_imports_nothing_of_the_server(self, tmp_path):
        program = bundle(tmp_path).python_argv
        script = program[program.index("-X") + 2]
        code = (
            "import sys; sys.path.insert(0, sys.argv[1].rpartition('/')[0]); "
            "import cluster.codi.agent.main, cluster.codi.agent.routes; print(*sys.modules)"
        )
        flags = program[: program.index(script)]
        loaded = subprocess.run(
            [*flags, "-c", code, script], check=True, capture_output=True, text=True, timeout=60
        ).stdout.split()
        forbidden = {"actors", "pydantic", "ray", "httpx", "_ssl", "cluster.settings", "site"}
        assert not forbidden.intersection(loaded)
