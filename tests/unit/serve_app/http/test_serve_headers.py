"""Headers by which clients could steer Ray Serve are removed."""

from __future__ import annotations

from serve_app.http.serve_headers import OwnServeHeaders, middlewares


async def test_clients_do_not_speak_to_serve():
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)

    wrapped = middlewares()[0].cls(app)
    assert isinstance(wrapped, OwnServeHeaders)
    scope = {
        "type": "http",
        "headers": [
            (b"x-request-timeout-seconds", b"1"),
            (b"x-request-disconnect-disabled", b"?0"),
            (b"x-odd", b"\xff\xfe"),
            (b"host", b"h"),
        ],
    }
    await wrapped(scope, None, None)
    headers = dict(seen["headers"])
    assert headers[b"x-request-disconnect-disabled"] == b"?1"
    assert b"x-request-timeout-seconds" not in headers
    assert headers[b"host"] == b"h"
    for value in headers.values():
        value.decode()  # as Serve does with every header
