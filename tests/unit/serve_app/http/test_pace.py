"""Bodies that come or go too slowly are given up; those that only pause are not."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from serve_app.http.pace import Pace, Paced


@pytest.mark.parametrize(
    ("steps", "allowance"),
    [
        ([], 10.0),
        ([(0, 4.0)], 6.0),  # nothing came
        ([(100, 1.0)] * 50, 10.0),  # exactly the rate, for ever
        ([(50, 1.0)] * 10, 5.0),  # half the rate: half a second's debt each
        ([(10_000, 0.0), (0, 3.0)], 7.0),  # a burst earns no credit
        ([(0, 8.0), (300, 0.0)], 5.0),  # debt is worked off
    ],
)
def test_debt_of_seconds_is_built_up_by_waiting_and_worked_off_by_bytes(steps, allowance):
    pace = Pace(100, 10.0)
    for size, waited in steps:
        pace.moved(size, waited)
    assert pace.allowance == pytest.approx(allowance)


def test_any_pace_is_allowed_at_a_rate_of_nothing():
    pace = Pace(0, 10.0)
    pace.moved(0, 1e6)
    assert pace.allowance is None


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 5))))
def test_who_keeps_the_rate_is_never_given_up(steps):
    pace = Pace(100, 10.0)
    for size, waited in steps:
        pace.moved(size + int(waited * 100) + 1, waited)
        assert pace.allowance == 10.0


SCOPE = {"type": "http", "path": "/x", "method": "PUT", "headers": []}


async def read_all(scope, receive, send):
    while (message := await receive()).get("more_body"):
        continue
    assert message["type"] == "http.request"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def giving(*messages):
    """Return a ``receive`` that gives these and then nothing more."""
    left = iter(messages)

    async def receive():
        for message in left:
            return message
        return await asyncio.get_running_loop().create_future()

    return receive


NO_BODY = {"type": "http.request", "body": b"", "more_body": False}


async def run(app, receive, send):
    await Paced(app, rate=1000, patience=0.05)(dict(SCOPE), receive, send)


async def test_a_body_that_stops_coming_is_answered_408():
    sent = []

    async def send(message):
        sent.append(message)

    await run(read_all, giving({"type": "http.request", "body": b"x", "more_body": True}), send)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["code"] == "request_timeout"


async def test_a_reader_that_takes_nothing_is_cut():
    async def send(message):
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    with pytest.raises(ClientDisconnect):
        await run(read_all, giving(NO_BODY), send)


async def test_a_stream_that_has_nothing_to_send_is_left_open():
    """Only the other side's slowness counts, not the application's, nor a wait for the caller to go."""
    sent = []

    async def quiet(scope, receive, send):
        await receive()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def send(message):
        sent.append(message)

    await run(quiet, giving(NO_BODY), send)
    assert sent[0]["status"] == 200
