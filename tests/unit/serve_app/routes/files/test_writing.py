"""Writing files over HTTP."""

from __future__ import annotations

from tests.support.conditions import EARLIER, LATER, with_etag
from tests.support.problems import is_problem


async def test_a_file_past_the_limit_is_refused_announced_or_not(rig, ada, session_id):
    rig.app.state.ingress.deps.settings.__dict__["max_file"] = 1000
    http = rig.http(ada)
    url = f"/api/v1/sessions/{session_id}/files/f"
    is_problem(await http.put(url, content=b"x" * 1001), 413, "payload_too_large")

    async def unannounced():
        for _ in range(11):
            yield b"x" * 100

    is_problem(await http.put(url, content=unannounced()), 413, "payload_too_large")
    assert await ada.tree(session_id) == []


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
