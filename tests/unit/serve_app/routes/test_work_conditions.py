"""The files API is HTTP (RFC 9110): methods, conditions, ranges and codings, as a table each."""

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


def with_etag(fields, etag):
    return {name: value.replace("ETAG", etag) for name, value in fields.items()}


LATER = "Fri, 31 Dec 2100 23:59:59 GMT"


EARLIER = "Sun, 06 Nov 1994 08:49:37 GMT"


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


async def test_head_says_what_get_would(web, file):
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


async def test_writing(web, file):
    address, _ = file
    table = [
        ({"if-match": "ETAG"}, 200),
        ({"if-match": '"x", ETAG'}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"x"'}, 412),
        ({"if-match": "W/ETAG"}, 412),
        ({"if-match": "x"}, 400),
        ({"if-none-match": "*"}, 412),
        ({"if-none-match": "ETAG"}, 412),
        ({"if-none-match": '"x"'}, 200),
        ({"if-none-match": "x"}, 400),
        ({"if-unmodified-since": EARLIER}, 412),
        ({"if-unmodified-since": LATER}, 200),
        ({"content-range": "bytes 2-4/10"}, 400),
        ({"content-encoding": "gzip"}, 415),
        ({"content-encoding": "identity, br"}, 415),
        ({"content-encoding": "identity"}, 200),
    ]
    for number, (fields, status) in enumerate(table):
        now = await web.get(address)
        sent = with_etag(fields, now.headers["etag"])
        answer = await web.put(address, content=b"%d" % number, headers=sent)
        assert answer.status_code == status, (fields, answer.text)
        found = (await web.get(address)).content
        assert found == (b"%d" % number if status == 200 else now.content), fields
        if status == 415:
            assert answer.headers["accept-encoding"] == "identity"
    for fields in ({"if-match": "*"}, {"if-match": '"x"'}):
        absent = await web.put(address + "-none", content=b"x", headers=fields)
        assert absent.status_code == 412
    assert (await web.get(address + "-none")).status_code == 404
    only_new = await web.put(address + "-new", content=b"x", headers={"if-none-match": "*"})
    assert only_new.status_code == 200


async def test_removing(web, file):
    address, etag = file
    for fields, status in [
        ({"if-match": '"x"'}, 412),
        ({"if-match": "W/ETAG"}, 412),
        ({"if-none-match": "ETAG"}, 412),
        ({"if-unmodified-since": EARLIER}, 412),
        ({"if-match": '"x", ETAG'}, 204),
        ({"if-match": "ETAG"}, 404),
    ]:
        answer = await web.delete(address, headers=with_etag(fields, etag))
        assert answer.status_code == status, fields


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


async def test_what_permissions_hide_is_refused_at_once(rig, web, ada, session_id, file):
    del file
    script = "chmod 222 a; mkdir d e; echo x > e/f; chmod 0 d; chmod 444 e; echo 1 > r; chmod 444 r"
    await ada.exec(session_id, ["sh", "-c", script])
    before = rig.deps.clock.monotonic()
    for method, target in (
        ("GET", "files/a"), ("GET", "files/d/x"), ("GET", "tree/d"), ("PUT", "files/r"),
        ("PUT", "files/d/x"), ("GET", "files/e/f"), ("HEAD", "files/a"),
    ):  # fmt: skip
        answer = await web.request(method, f"/api/v1/sessions/{session_id}/{target}")
        assert answer.status_code == 403, (method, target, answer.text)
        if method != "HEAD":
            assert answer.json()["code"] == "permission_denied"
    listed = await ada.tree(session_id, "e")
    assert [(each.name, each.type) for each in listed] == [("f", "file")]
    # No replacement of the container was waited for.
    assert rig.deps.clock.monotonic() - before < 10
