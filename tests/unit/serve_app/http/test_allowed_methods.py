"""The methods that an address takes."""

from __future__ import annotations

import pytest


@pytest.fixture
async def web(rig, ada):
    async with rig.http(ada) as made:
        yield made


@pytest.mark.parametrize(
    ("address", "methods"),
    [
        ("files/a", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("tree/", "GET, HEAD, OPTIONS"),
        ("move", "OPTIONS, POST"),
        ("terminals", "GET, HEAD, OPTIONS, POST"),
        ("terminals/x", "DELETE, OPTIONS"),
    ],
)
async def test_an_address_names_the_methods_that_it_takes(web, session_id, address, methods):
    url = f"/api/v1/sessions/{session_id}/{address}"
    reported = await web.options(url)
    assert (reported.status_code, reported.headers["allow"]) == (204, methods)
    wrong = await web.patch(url)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, methods)
    assert wrong.json()["code"] == "method_not_allowed"
