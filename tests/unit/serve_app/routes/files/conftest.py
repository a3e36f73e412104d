"""A file that is read and written over plain HTTP, under conditions."""

from __future__ import annotations

import pytest

from tests.support.conditions import BODY


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
