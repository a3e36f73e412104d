"""The server takes no name that leaves its place in a URL, in any encoding, on any route."""

from __future__ import annotations

import asyncio
import http.client

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from serve_app.http.addresses import fault_of

DOTS = ("..", ".", "%2e%2e", "%2E.", ".%2e", "%2e")


@pytest.mark.parametrize("dots", DOTS)
@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/sessions/{}",
        "/api/v1/sessions/s-1/terminals/{}",
        "/api/v1/sessions/s-1/terminals/{}/output",
        "/api/v1/sessions/s-1/terminals/{}/ws",
        "/api/v1/sessions/s-1/processes/{}",
        "/api/v1/sessions/s-1/files/{}",
        "/api/v1/sessions/s-1/files/a/{}/b",
        "/api/v1/sessions/s-1/files/a%2F{}%2Fb",
        "/api/v1/sessions/s-1/files/{}%2Fa",
        "/api/v1/sessions/s-1/tree/{}",
        "/api/v1/sessions/s-1/history/{}",
        "/api/v1/sessions/s-1/archive/{}",
        "/api/admin/users/{}",
        "/workspaces/{}/ports/80/x",
        "/workspaces/s-1/ports/{}/x",
        "/workspaces/s-1/ports/80/{}/x",
        "/static/{}/x",
    ],
)
def test_dot_segments_are_a_fault(address, dots):
    assert fault_of(address.format(dots).encode()) is not None


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/api/v1/sessions/s-1/files/a%2Fb",
        "/api/v1/sessions/s-1/files/...",
        "/api/v1/sessions/s-1/files/..a/b..",
        "/api/v1/sessions/s-1/files/%252e%252e",
        "/api/v1/sessions/s-1/files/a%FF",
        "/api/v1/sessions/s-1/tree/",
        "/api/v1/sessions/s-1/terminals/a.b",
        "/workspaces/s-1/ports/80/a%2Fb",
    ],
)
def test_what_stays_in_its_place_is_none(address):
    assert fault_of(address.encode()) is None


@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/sessions/s-1%2Ffiles%2Fa",
        "/api/v1/sessions/s-1/terminals/x%2Foutput",
        "/api/v1/sessions/s-1%2fterminals%2fx",
        "/api%2Fv1/sessions",
    ],
)
def test_a_name_holds_no_slash(address):
    assert fault_of(address.encode()) is not None


def raw(rig, ada, method, target):
    """Send a target that no URL library would; return the status."""
    link = http.client.HTTPConnection(rig.url.removeprefix("http://"), timeout=60)
    try:
        link.putrequest(method, target)
        link.putheader("authorization", f"Bearer {ada.access_token}")
        link.putheader("content-length", "0")
        link.endheaders()
        return link.getresponse().status
    finally:
        link.close()


@pytest.mark.parametrize("dots", DOTS)
async def test_the_parent_of_a_name_is_not_reached(rig, ada, session_id, dots):
    place = f"/api/v1/sessions/{session_id}"
    for method, target in (
        ("DELETE", f"{place}/files/{dots}"),
        ("DELETE", f"{place}/terminals/{dots}"),
        ("GET", f"{place}/files/a/{dots}/{dots}/x"),
    ):
        assert await asyncio.to_thread(raw, rig, ada, method, target) == 400, target
    assert session_id in [each.session_id for each in await ada.sessions()]


@pytest.mark.parametrize("name", ["..", ".", "a/b", ""])
async def test_no_terminal_is_named_so(rig, ada, session_id, name):
    async with rig.http(ada) as web:
        answer = await web.post(f"/api/v1/sessions/{session_id}/terminals", json={"name": name})
    assert answer.status_code in {400, 422}
    assert name not in [each.name for each in await ada.terminals(session_id)]


@pytest.mark.parametrize("name", ["%2e%2e", "%252e%252e", "a%2Fb"])
async def test_no_socket_opens_a_terminal_by_a_name_decoded_twice(rig, ada, session_id, name):
    url = f"{rig.url.replace('http', 'ws')}/api/v1/sessions/{session_id}/terminals/{name}/ws"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    if name.startswith("%25"):  # a name like any other, to the letter
        async with connect(url, additional_headers=headers, proxy=None) as socket:
            await socket.recv()
        assert [each.name for each in await ada.terminals(session_id)] == ["%2e%2e"]
        return
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, additional_headers=headers, proxy=None):
            pass
    assert refused.value.response.status_code == 400
