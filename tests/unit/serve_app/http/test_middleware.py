"""Limits of every request."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse

from serve_app.http.middleware import BodyLimit, Observed, SafeHeaders, announced_length
from serve_app.telemetry.metrics import IngressMetrics
from tests.support.asgi import asked, header, http_scope
from tests.support.problems import is_problem

LOGIN = "/api/v1/auth/login"


JSON = {"content-type": "application/json"}


async def test_a_body_past_the_limit_is_refused_while_it_arrives(rig):
    sent = 0

    async def endless():
        nonlocal sent
        for _ in range(300):
            sent += 1 << 16
            yield b" " * (1 << 16)

    answer = await rig.http().post(LOGIN, content=endless(), headers=JSON)
    is_problem(answer, 413, "payload_too_large")


async def hello(scope, receive, send):
    await PlainTextResponse("hello")(scope, receive, send)


def observed(app) -> tuple[Observed, IngressMetrics]:
    metrics = IngressMetrics()
    return Observed(app, metrics=metrics, new_id=lambda kind: f"{kind}-new"), metrics


def counted(metrics: IngressMetrics) -> list[str]:
    return [answer["status"] for answer in metrics.snapshot({})["answers"]]


@pytest.mark.parametrize(
    ("given", "used"),
    [("abc-1.2_3", "abc-1.2_3"), ("", "q-new"), ("a b", "q-new"), ("x" * 65, "q-new")],
)
async def test_a_request_keeps_an_id_that_is_one_and_gets_one_otherwise(given, used):
    app, metrics = observed(hello)
    answer = await asked(app, http_scope(x_request_id=given))
    assert header(answer, "x-request-id") == used
    assert counted(metrics) == ["2xx"]


async def test_a_client_that_has_gone_is_no_error_of_the_server():
    async def gone(_scope, _receive, _send):
        raise ClientDisconnect

    app, metrics = observed(gone)
    assert await asked(app, http_scope()) == []
    assert counted(metrics) == ["4xx"]


async def test_an_error_before_the_answer_begins_is_a_500_and_one_behind_it_is_raised():
    async def failing(_scope, _receive, _send):
        raise ValueError("inside")

    app, metrics = observed(failing)
    answer = await asked(app, http_scope())
    assert answer[0]["status"] == 500
    assert b"inside" not in answer[1]["body"]
    assert counted(metrics) == ["5xx"]

    async def breaking(scope, receive, send):
        await hello(scope, receive, send)
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        await asked(observed(breaking)[0], http_scope())


async def test_answers_of_the_api_stay_out_of_caches_and_no_page_is_framed():
    app = SafeHeaders(hello)
    api, page = await asked(app, http_scope("/api/x")), await asked(app, http_scope("/static/x"))
    assert header(api, "cache-control") == "no-store"
    assert header(page, "cache-control") is None
    assert header(page, "x-frame-options") == "DENY"
    assert "default-src 'self'" in str(header(page, "content-security-policy"))


@pytest.mark.parametrize(
    ("length", "announced"), [("10", 10), ("-1", 0), ("ten", 0), ("9" * 20, 0), ("\u00b2", 0)]
)
def test_a_length_that_makes_no_sense_announces_nothing(length, announced):
    assert announced_length(http_scope(content_length=length)) == announced


async def test_a_body_past_the_limit_is_refused_when_announced_and_when_it_arrives():
    async def reading(scope, receive, send):
        while (await receive()).get("more_body"):
            continue
        await hello(scope, receive, send)

    def parts(*sizes):
        return [{"type": "http.request", "body": b"x" * n, "more_body": True} for n in sizes]

    app = BodyLimit(reading, limit=10, exempt=lambda scope: scope["path"] == "/exempt")
    assert (await asked(app, http_scope(content_length="11")))[0]["status"] == 413
    assert (await asked(app, http_scope(content_length="10"), parts(4, 6)))[0]["status"] == 200
    with pytest.raises(HTTPException):
        await asked(app, http_scope(), parts(4, 7))
    assert (await asked(app, http_scope("/exempt"), parts(20)))[0]["status"] == 200
