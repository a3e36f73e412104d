"""Kept versions over HTTP and in the clients: history, old bytes, putting back."""

from __future__ import annotations

import pytest

from coditect import InvalidRequest, NotFound
from tests.support.conditions import with_etag
from tests.support.problems import is_problem


async def test_every_save_is_in_the_history_and_can_be_read(ada, session_id):
    receipts = [await ada.write_file(session_id, "d/f", b"%d" % n) for n in range(3)]
    await ada.delete_file(session_id, "d/f")
    found = await ada.history(session_id, "d/f")
    assert [version.type for version in found] == ["deleted", "file", "file", "file"]
    assert [v.version for v in found[1:]] == [r.version for r in reversed(receipts)]
    assert found == sorted(found, key=lambda v: -v.version)
    for number, receipt in enumerate(receipts):
        old = await ada.read_file(session_id, "d/f", version=receipt.version)
        assert old == b"%d" % number
    with pytest.raises(NotFound):
        await ada.read_file(session_id, "d/f", version=found[0].version)
    older = await ada.history(session_id, "d/f", before=receipts[1].version)
    assert [version.version for version in older] == [receipts[0].version]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_of_the_history_show_each_change_once(rig, ada, session_id, limit):
    contents = [b"a", b"a", b"b", b"b", b"b", b"a", b"c", b"c"]
    saved = [await ada.write_file(session_id, "f", data) for data in contents]
    changes = [saved[n].version for n in range(8) if n == 0 or contents[n] != contents[n - 1]]
    listed: list[int] = []
    before = None
    while page := await ada.history(session_id, "f", before=before, limit=limit):
        assert len(page) <= limit
        listed += [each.version for each in page]
        before = listed[-1]
    assert listed == changes[::-1]


async def test_a_deleted_file_is_put_back_with_its_permissions(ada, session_id):
    first = await ada.write_file(session_id, "run", b"#!/bin/sh\necho hi\n")
    await ada.exec(session_id, ["chmod", "750", "run"])
    await ada.exec(session_id, ["true"])
    await ada.write_file(session_id, "run", b"newer")
    mode = (await ada.history(session_id, "run"))[0].mode
    assert mode == 0o750
    kept = (await ada.history(session_id, "run"))[0].version
    await ada.delete_file(session_id, "run")
    receipt = await ada.restore_file(session_id, "run", kept)
    assert receipt.version > kept > first.version
    assert await ada.read_file(session_id, "run") == b"newer"
    listed = {entry.name: entry.mode for entry in await ada.tree(session_id)}
    assert listed["run"] == 0o750
    copy = await ada.restore_file(session_id, "run", first.version, target="copy")
    assert copy.path == "copy"
    assert await ada.read_file(session_id, "copy") == b"#!/bin/sh\necho hi\n"


async def test_a_large_file_is_read_as_it_was(ada, session_id):
    data = bytes(range(256)) * 8192 * 4
    first = await ada.write_file(session_id, "large", data)
    await ada.write_file(session_id, "large", b"small")
    assert await ada.read_file(session_id, "large", version=first.version) == data


async def test_what_is_wrong_is_reported(rig, ada, session_id):
    await ada.write_file(session_id, "f", b"1")
    http, base = rig.http(ada), f"/api/v1/sessions/{session_id}"
    is_problem(await http.get(f"{base}/history/none"), 404, "not_found")
    is_problem(await http.get(f"{base}/history/"), 400, "invalid_argument")
    is_problem(await http.get(f"{base}/files/f?version=99"), 404, "not_found")
    is_problem(await http.get(f"{base}/files/f?version=0"), 422)
    is_problem(await http.post(f"{base}/restore", json={"path": "f"}), 422)
    body = {"path": "f", "version": 99}
    is_problem(await http.post(f"{base}/restore", json=body), 404, "not_found")
    await http.post(f"{base}/directories", json={"path": "dir"})
    version = (await ada.history(session_id, "dir"))[0].version
    with pytest.raises(InvalidRequest):
        await ada.read_file(session_id, "dir", version=version)


async def test_history_is_its_owners(rig, ada, session_id):
    await ada.write_file(session_id, "f", b"1")
    other = await rig.sign_in("eve@example.com")
    with pytest.raises(NotFound):
        await other.history(session_id, "f")
    with pytest.raises(NotFound):
        await other.restore_file(session_id, "f", 1)
    await other.close()


async def test_a_version_is_read_under_the_same_conditions(web, file):
    address, _ = file
    version = (await web.put(address, content=b"later")).json()["version"]
    then = {"version": str(version)}
    got = await web.get(address, params=then)
    etag = got.headers["etag"]
    for fields, status in [
        ({"if-none-match": "ETAG"}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-match": '"x"'}, 412),
        ({"if-match": "x"}, 400),
        ({"range": "bytes=0-1"}, 200),
    ]:
        answer = await web.get(address, params=then, headers=with_etag(fields, etag))
        assert answer.status_code == status, fields
    head = await web.head(address, params=then)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "5", b"")
