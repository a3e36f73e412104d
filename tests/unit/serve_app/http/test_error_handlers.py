"""Every error is a problem document, without traces of the inside."""

from __future__ import annotations

from tests.support.problems import is_problem

LOGIN = "/api/v1/auth/login"


JSON = {"content-type": "application/json"}


BAD_BODIES = [
    (b"{not json", 400, "invalid_json"),
    (b"\xff\xfe\xfa", 400, "invalid_json"),
    (b"[" * 100_000, 400, "invalid_json"),
    (b'"a string"', 422, "invalid_argument"),
    (b"", 422, "invalid_argument"),
    (b'{"email": 1, "password": []}', 422, "invalid_argument"),
    (b'{"email": "a@b.c", "password": "p", "extra": 1}', 422, "invalid_argument"),
    (b'{"email": "a@b.c", "password": "\\ud800"}', 422, "invalid_argument"),
    (b'{"email": "a@b.c", "password": "' + b"x" * (2 << 20) + b'"}', 413, "payload_too_large"),
]


async def test_bad_bodies_get_a_problem_document(rig):
    http = rig.http()
    for body, status, code in BAD_BODIES:
        is_problem(await http.post(LOGIN, content=body, headers=JSON), status, code)


async def test_what_was_sent_is_not_repeated(rig):
    answer = await rig.http().post(LOGIN, json={"email": "a@b.c", "password": {"x": "s3cret"}})
    assert "s3cret" not in answer.text


UNKNOWN = [
    ("GET", "/api/v1/sessions/s-unknown", 404),
    ("GET", "/api/v1/sessions/%00", 404),
    ("GET", "/api/v1/sessions/%ff%fe", 404),
    ("GET", "/api/v1/nothing", 404),
    ("GET", "/api/v1/sessions/", 404),
    ("DELETE", "/api/v1/auth/me", 405),
    ("PUT", "/api/v1/sessions", 405),
]


async def test_unknown_things_are_problem_documents(rig, ada):
    http = rig.http(ada)
    for method, path, status in UNKNOWN:
        is_problem(await http.request(method, path), status)


async def test_an_unexpected_error_has_an_id_and_no_traceback(rig, ada, monkeypatch, capsys):
    async def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(rig.app.state.ingress.gateway, "view", broken)
    answer = await rig.http(ada).get(f"/api/v1/sessions/{(await ada.sessions())[0].session_id}")
    document = is_problem(answer, 500, "internal")
    assert document["request_id"] == answer.headers["x-request-id"]
    assert "ZeroDivision" not in answer.text
    assert document["request_id"] in capsys.readouterr().out
