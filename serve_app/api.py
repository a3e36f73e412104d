"""The HTTP and WebSocket interface as one application, made from ``Dependencies``; nothing of Ray."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import Scope

from serve_app.auth.audited import Audited
from serve_app.auth.under_way import EndsWithLogin
from serve_app.dependencies import Dependencies
from serve_app.http import error_handlers as answers
from serve_app.http import pages, problems
from serve_app.http.addresses import Addresses
from serve_app.http.methods import Methods
from serve_app.http.middleware import BodyLimit, Observed, SafeHeaders
from serve_app.http.pace import Paced
from serve_app.ingress import running
from serve_app.ports.front import PortFront
from serve_app.routes import (
    admin,
    auth,
    backups,
    environment,
    network,
    ports,
    probes,
    programs,
    sessions,
    sockets,
    ssh,
    terminals,
)
from serve_app.routes.files import finding, reading, versions, writing
from serve_app.telemetry.metrics import IngressMetrics

VERSION = "0.1.0"
DESCRIPTION = """\
Workspaces that last. Sign in with `POST /api/v1/auth/login`, which opens your session; then work in it.

* Errors are problem documents (RFC 9457, `application/problem+json`) with a stable `code`.
* Programs send `Authorization: Bearer <access token>`. Browsers have cookies, and with them an
  `Origin` of this server for everything that changes something.
* Calls that open, end, save or change a session take an `Idempotency-Key`: the same key again gets the
  same answer and does nothing twice. A program is never run twice: `exec` is not repeated.
* Sockets: `WS /api/v1/sessions/{session_id}/terminals/{name}/ws`, `…/exec/ws`, `…/ssh` and
  `WS /api/v1/sessions/{session_id}/events`, opened with a bearer token (in the header, or offered as
  the subprotocol `bearer.<token>` beside `coditect`), or with `?ticket=` from
  `POST /api/v1/auth/ticket`.

## The session's events

Text frames are JSON: `activation`, `seq`, `at` (Unix seconds), `type`, `data`. The first one is the state as
`status`; then `status`, `saved`, `terminals`, `ports`, `idle` and `unarchived` as they happen, and `ended` as
the last.
`seq` grows with every event of one `activation`; gaps in it are other sessions' events. Both are 0 in
the first frame, and in another `status` that stands for events which could not be had.

## The terminal's socket

Query, all of it optional: `client` (an id that stays the same over reconnects), `offset` (the number
of the next output byte wanted; without it everything kept is sent), `input_offset` (how many bytes of
input were acknowledged), `cols` and `rows` (1 to 1000), `label` (what other windows call this one).
A terminal that is not there is started.
Names that begin with `auto-` are programs': pages do not show them, and when nobody has been attached
for a minute or two they are ended.

Binary frames are the terminal's bytes, both ways, of up to 1 MiB from the client. Output bytes are
numbered from `attached.output_offset` on. Text frames are JSON objects with a `type`; unknown types
are to be ignored, and are by the server.

* From the client: `resize` (`cols`, `rows`), `hidden` (it shows the terminal no more), `active` (a person
  uses it here), `sizing` (`rule`: of the windows that show it, the `latest` used, the `smallest` or the
  `largest` gives the size).
* From the server: `attached` (the first: `output_offset`, `input_offset`, `truncated`, `restarted`,
  `cols`, `rows`), `input_ack` (`offset`: input up to there has arrived and need not be sent again),
  `status` (`status`), `restarted` (a new shell follows), `resized` (`cols`, `rows`: another client
  changed the size), `sizing` (`rule`, `windows`: who shows it, and whose size it follows),
  `exit` (`code`), `cwd` (`path`), `dropped` (`reason`; a close follows).

## The program's socket

`WS /api/v1/sessions/{session_id}/exec/ws` runs one program. The first text frame says which:
`{"type": "start", "argv", "cwd", "env", "tty": {"cols", "rows"}, "on_close"}`, all but `argv` optional;
`on_close` is what becomes of it when the socket goes: `kill` (the default), `hang_up` or `leave`. Binary
frames to the program are its standard input; those from it have one byte in front, 1 for standard
output, 2 for standard error.

* From the client: `end_of_input`, `resize` (`cols`, `rows`), `signal` (`name`, as `INT`).
* From the server: `started` (`pid`) or `refused` (a problem document), `window` (`bytes`: so much input
  was taken, and 256 KiB more than that may be sent), `input_closed`, and `ended` (`code`, or `signal`)
  behind the last byte.

## SSH

`GET /api/v1/ssh` says where SSH is spoken. An SSH client signs in there with a key of the account
(`POST /api/v1/ssh-keys`); its user name is the session's id, or the account's address for the default
session, or `NAME/ADDRESS`. The socket `…/ssh` carries the same protocol in binary frames, for
`ProxyCommand`: who opens it is signed in, and no key is asked for.

## Close codes of the sockets

* 4400 bad frame or parameter, 4403 not allowed, 4404 no such session, 4410 the shell or the session
  has ended, 4411 the same client is attached on another socket: do not come back.
* 4401 not signed in: get a new ticket. 4408 too slow, or output is missing: come back with the offset.
* 4409, 4429 not in this state, too many: try again later. 1012, 1013 the replica goes away, or has
  no answer now: come back.

Programs are refused before the upgrade with a problem document; pages, whose requests have an
`Origin`, by a close code.
"""


def create_app(deps: Dependencies, *, static: Path = pages.STATIC) -> FastAPI:
    """Return the application. Its lifespan brings the parts up that requests are answered with."""
    metrics = IngressMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(deps, metrics) as ingress:
            app.state.ingress = ingress
            yield

    routes: list[BaseRoute] = []
    app = FastAPI(
        title="CODITECT Server",
        version=VERSION,
        description=DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # both viewers load their code from another site
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=answers.AsciiJson,
        lifespan=lifespan,
        middleware=[
            Middleware(Observed, metrics=metrics, new_id=deps.new_id),
            Middleware(PortFront),
            Middleware(SafeHeaders),
            Middleware(Audited),
            Middleware(Addresses),
            Middleware(
                Paced,
                rate=deps.settings.transfer_min_rate,
                patience=deps.settings.transfer_patience,
            ),
            Middleware(EndsWithLogin),
            Middleware(Methods, routes=routes),
            Middleware(BodyLimit, limit=deps.settings.max_body, exempt=_streams_its_body),
        ],
    )
    answers.install(app, static)
    sockets.install(app)
    session_parts = (
        sessions,
        network,
        programs,
        reading,
        writing,
        finding,
        versions,
        terminals,
        ports,
    )
    for part in (auth, environment, ssh, *session_parts, admin, backups, probes):
        app.include_router(part.router)
    pages.install(app, static)
    _describe(app, deps.settings.max_keep_awake)
    routes += app.router.routes
    return app


def _streams_its_body(scope: Scope) -> bool:
    path = scope["path"]
    return scope["method"] == "PUT" and ("/files/" in path or "/archive" in path)


def _describe(app: FastAPI, max_keep_awake: float) -> None:
    """Add to the OpenAPI document what FastAPI cannot know: how errors look, and limits from settings."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document["components"]["schemas"]
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            schemas["KeepAwake"]["properties"]["seconds"]["maximum"] = max_keep_awake
            for operations in document["paths"].values():
                for operation in operations.values():
                    _correct(operation["responses"])
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _correct(responses: dict[str, Any]) -> None:
    for response in responses.values():
        content = response.get("content", {})
        references = {str(body.get("schema", {}).get("$ref", "")) for body in content.values()}
        if any(name.endswith(("/HTTPValidationError", "/Problem")) for name in references):
            response["content"] = {
                problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}
            }
