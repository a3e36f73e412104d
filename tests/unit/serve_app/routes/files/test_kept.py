"""A path that the container lacks is reported as missing while its workspace is put back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from starlette.requests import Request

from actors.core.errors.requests import NotFound
from actors.core.errors.workspaces import ContentMissing
from cluster.archive.restoring.versions import Expected
from serve_app.routes.files.kept import fields_of, found_or_missing, workspace_of
from tests.support.asgi import http_scope

MISSING = ContentMissing("a", "the chunk store lacks it")


class House:
    """An ingress over one container, whose directory is of ``incarnation``."""

    def __init__(self, incarnation: str, expected: Expected | None) -> None:
        self.tries = 0
        self.found_at = 0
        self._incarnation = incarnation
        self._expected = expected
        deps = SimpleNamespace(library=self, codi=SimpleNamespace(incarnation=self.incarnation))
        self.ingress = SimpleNamespace(gateway=self, deps=deps)

    async def on_container(self, _session, work, **_options):
        return await work(None)

    async def expected(self, _session, _path) -> Expected | None:
        return self._expected

    async def incarnation(self, _route) -> str:
        return self._incarnation

    async def read(self, _route) -> str:
        self.tries += 1
        if self.tries == self.found_at:
            return "content"
        raise NotFound("file", "a")

    async def ask(self, path: str = "a") -> str:
        return await found_or_missing(self.ingress, "s1", path, self.read)


async def test_what_is_there_is_read_once():
    house = House("i-1", None)
    house.found_at = 1
    assert (await house.ask(), house.tries) == ("content", 1)


async def test_what_no_version_has_is_not_found():
    with pytest.raises(NotFound):
        await House("i-2", None).ask()


async def test_what_is_not_put_back_yet_is_missing():
    with pytest.raises(ContentMissing):
        await House("i-2", Expected("i-1", MISSING)).ask()


@pytest.mark.parametrize("put_back", [True, False])
async def test_in_a_whole_directory_a_second_look_decides(put_back):
    house = House("i-1", Expected("i-1", MISSING))
    house.found_at = 2 if put_back else 0
    if put_back:
        assert await house.ask() == "content"
    else:
        with pytest.raises(NotFound):
            await house.ask()
    assert house.tries == 2


async def test_the_workspace_itself_is_never_missing():
    with pytest.raises(NotFound):
        await House("i-2", Expected("i-1", MISSING)).ask("/")


def test_several_lines_of_a_field_are_one_list():
    scope = http_scope(if_match='"a"', range="bytes=0-1")
    scope["headers"].append((b"if-match", b'"b"'))
    asked = Request(scope)
    assert fields_of(asked, ("if-match", "if-range")) == {"if-match": '"a", "b"'}


async def test_a_session_that_is_gone_has_no_workspace():
    async def nothing(_session):
        return None

    ledger = SimpleNamespace(session=nothing)
    with pytest.raises(NotFound):
        await workspace_of(SimpleNamespace(deps=SimpleNamespace(ledger=ledger)), "s1")
