"""Reading files and directories over HTTP."""

from __future__ import annotations

import io
import tarfile

from tests.support.conditions import BODY, EARLIER, LATER, with_etag
from tests.support.problems import is_problem


async def test_a_part_of_a_file_and_one_that_has_not_changed(rig, ada, session_id):
    receipt = await ada.write_file(session_id, "f", b"0123456789")
    http = rig.http(ada)
    url = f"/api/v1/sessions/{session_id}/files/f"
    part = await http.get(url, headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert part.headers["content-range"] == "bytes 2-4/10"
    same = await http.get(url, headers={"if-none-match": receipt.etag})
    assert same.status_code == 304
    whole = await http.get(url)
    assert whole.headers["content-security-policy"].startswith("sandbox")
    assert whole.headers["x-content-type-options"] == "nosniff"


async def test_a_directory_is_had_as_a_tar_archive_by_its_owner(rig, ada, session_id):
    await ada.write_file(session_id, "my src/a.py", b"print()")
    http = rig.http(ada)
    answer = await http.get(f"/api/v1/sessions/{session_id}/archive/my%20src")
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["content-disposition"].endswith("my%20src.tar")
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as found:
        assert found.extractfile("my src/a.py").read() == b"print()"
    whole = await http.get(f"/api/v1/sessions/{session_id}/archive")
    with tarfile.open(fileobj=io.BytesIO(whole.content)) as found:
        assert "workspace/my src/a.py" in found.getnames()
    is_problem(await http.get(f"/api/v1/sessions/{session_id}/archive/none"), 404)
    is_problem(await http.get(f"/api/v1/sessions/{session_id}/archive/%2e%2e/x"), 400)
    is_problem(await rig.http().get(f"/api/v1/sessions/{session_id}/archive/my%20src"), 401)
    await rig.add_user("eve@example.com")
    async with await rig.sign_in("eve@example.com") as eve:
        theirs = rig.http(eve)
        is_problem(await theirs.get(f"/api/v1/sessions/{session_id}/archive/"), 404)


async def test_a_large_file_streams_through(ada, session_id):
    block = bytes(range(256)) * 1024

    async def content():
        for _ in range(64):
            yield block

    receipt = await ada.write_file(session_id, "large", content())
    assert receipt.size == 64 * len(block)
    seen = 0
    async for part in ada.stream_file(session_id, "large"):
        seen += len(part)
    assert seen == receipt.size


async def test_reading(web, file):
    address, etag = file
    table = [
        ({}, 200, BODY),
        ({"if-match": "ETAG"}, 200, BODY),
        ({"if-match": '"x", ETAG'}, 200, BODY),
        ({"if-match": "*"}, 200, BODY),
        ({"if-match": '"x"'}, 412, None),
        ({"if-match": "W/ETAG"}, 412, None),
        ({"if-match": "x"}, 400, None),
        ({"if-none-match": "ETAG"}, 304, b""),
        ({"if-none-match": "W/ETAG"}, 304, b""),
        ({"if-none-match": '"x", ETAG'}, 304, b""),
        ({"if-none-match": "*"}, 304, b""),
        ({"if-none-match": '"x"'}, 200, BODY),
        ({"if-modified-since": LATER}, 304, b""),
        ({"if-modified-since": EARLIER}, 200, BODY),
        ({"if-modified-since": LATER, "if-none-match": '"x"'}, 200, BODY),
        ({"if-unmodified-since": EARLIER}, 412, None),
        ({"if-unmodified-since": LATER}, 200, BODY),
        ({"range": "bytes=2-4"}, 206, b"234"),
        ({"range": "bytes=-3"}, 206, b"789"),
        ({"range": "bytes=8-99"}, 206, b"89"),
        ({"range": "bytes=0-2,3-5"}, 206, b"012345"),
        ({"range": "bytes=0-0,5-5"}, 200, BODY),
        ({"range": "bytes=5-2"}, 200, BODY),
        ({"range": "lines=1-2"}, 200, BODY),
        ({"range": "bytes=10-"}, 416, None),
        ({"range": "bytes=2-4", "if-range": "ETAG"}, 206, b"234"),
        ({"range": "bytes=2-4", "if-range": '"x"'}, 200, BODY),
        ({"range": "bytes=2-4", "if-range": "W/ETAG"}, 200, BODY),
        ({"range": "bytes=2-4", "if-range": EARLIER}, 200, BODY),
        ({"range": "bytes=2-4", "if-none-match": "ETAG"}, 304, b""),
    ]
    for fields, status, body in table:
        sent = with_etag(fields, etag)
        answer = await web.get(address, headers=sent)
        assert answer.status_code == status, (fields, answer.text)
        if body is not None:
            assert answer.content == body, fields
            assert answer.headers["etag"] == etag
        if status == 206:
            first = BODY.index(body)
            assert answer.headers["content-range"] == f"bytes {first}-{first + len(body) - 1}/10"
        if status == 200:
            assert answer.headers["accept-ranges"] == "bytes"
        if status == 416:
            assert answer.headers["content-range"] == "bytes */10"
            assert answer.json()["code"] == "range_not_satisfiable"
        head = await web.head(address, headers=sent)
        whole = {"range", "if-range"} & fields.keys() and status in {206, 416}
        assert head.status_code == (200 if whole else status), fields
        assert head.content == b""


async def test_head_answers_as_get_would(web, file):
    address, _ = file
    got, head = await web.get(address), await web.head(address)
    for name in ("content-length", "etag", "last-modified", "accept-ranges", "content-type"):
        assert head.headers[name] == got.headers[name]
    assert head.headers["content-length"] == "10"
    none = await web.head(address + "-none")
    assert (none.status_code, none.content) == (404, b"")
    assert (await web.head(address.rpartition("/files/")[0] + "/files/")).status_code == 400


async def test_several_lines_of_a_field_are_a_list(web, file):
    address, etag = file
    lines = [("if-none-match", '"x"'), ("if-none-match", etag)]
    assert (await web.get(address, headers=lines)).status_code == 304
    lines = [("if-match", '"x"'), ("if-match", etag)]
    assert (await web.put(address, content=b"2", headers=lines)).status_code == 200
