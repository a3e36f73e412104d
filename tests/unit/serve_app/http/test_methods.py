"""HEAD, OPTIONS and bodies of every address."""

from __future__ import annotations

import pytest

BODY = b"0123456789"


@pytest.fixture
async def web(rig, ada):
    async with rig.http(ada) as made:
        yield made


@pytest.fixture
async def file(web, session_id):
    """The address of a file of ten bytes, and its etag."""
    address = f"/api/v1/sessions/{session_id}/files/a"
    saved = await web.put(address, content=BODY)
    assert saved.status_code == 200, saved.text
    return address, saved.headers["etag"]


async def test_everything_that_can_be_read_has_a_head(web, session_id, file):
    place = f"/api/v1/sessions/{session_id}"
    for address in (
        place,
        f"{place}/tree/",
        f"{place}/history/a",
        f"{place}/archive/",
        "/api/v1/auth/me",
    ):
        got, head = await web.get(address), await web.head(address)
        assert (head.status_code, head.content) == (got.status_code, b""), address
        if "content-length" in got.headers:
            assert head.headers["content-length"] == got.headers["content-length"]
    assert (await web.head("/api/v1/nothing")).status_code == 404
    assert (await web.options("/api/v1/nothing")).status_code == 404


async def test_any_body_in_a_coding_is_refused(web, session_id):
    answer = await web.post(
        f"/api/v1/sessions/{session_id}/directories",
        content=b"{}",
        headers={"content-encoding": "gzip", "content-type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
