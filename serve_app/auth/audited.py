"""Notes requests in the audit trail, when they are answered, under the name that each has there.

Signing in, and changes of accounts, are noted by those who carry them out, before anybody is answered.
Here is everything else that changes something, what is refused to somebody who is signed in, and what
administrators look at. A line says who asked for what and how it ended, never what was in it.
"""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.auth.identity import SAFE_METHODS
from serve_app.http import problems

_MAX_RESOURCE = 256
_V1 = "/api/v1"
_SESSION = f"{_V1}/sessions/{{session_id}}"
ACTIONS = {
    ("POST", f"{_V1}/sessions"): "session.open",
    ("POST", f"{_V1}/containers"): "session.open",
    ("PATCH", _SESSION): "session.change",
    ("POST", f"{_SESSION}/hibernate"): "session.hibernate",
    ("POST", f"{_SESSION}/resume"): "session.resume",
    ("POST", f"{_SESSION}/keep-awake"): "session.keep_awake",
    ("POST", f"{_SESSION}/exec"): "exec",
    ("POST", f"{_SESSION}/processes"): "process.start",
    ("DELETE", f"{_SESSION}/processes/{{name}}"): "process.end",
    ("POST", f"{_SESSION}/processes/{{name}}/signal"): "process.signal",
    ("POST", f"{_SESSION}/terminals"): "terminal.open",
    ("DELETE", f"{_SESSION}/terminals/{{name}}"): "terminal.end",
    ("PUT", f"{_SESSION}/files/{{path:any_path}}"): "file.save",
    ("PUT", f"{_SESSION}/archive/{{path:any_path}}"): "file.unpack",
    ("DELETE", f"{_SESSION}/files/{{path:any_path}}"): "file.delete",
    ("POST", f"{_SESSION}/move"): "file.move",
    ("POST", f"{_SESSION}/directories"): "file.mkdir",
    ("POST", f"{_SESSION}/restore"): "file.restore",
    ("PUT", f"{_V1}/variables/{{name}}"): "variable.set",
    ("DELETE", f"{_V1}/variables/{{name}}"): "variable.delete",
    ("PUT", f"{_V1}/secrets/{{name}}"): "secret.set",
    ("DELETE", f"{_V1}/secrets/{{name}}"): "secret.delete",
    ("PATCH", f"{_V1}/account/preferences"): "preferences.change",
    ("POST", "/api/admin/backups"): "backup.start",
}
"""Routes not named here are called by their method, as in ``request.put``."""
NOTED_ELSEWHERE = ("/api/v1/auth/", "/api/v1/ssh-keys", "/api/admin/users")
ENDED_ELSEWHERE = ("DELETE", _SESSION)


def action_of(method: str, template: str, status: int, *, refused: bool) -> str | None:
    """Return the name of a request that was answered with ``status``, 0 when its caller had gone.

    None for one that is not recorded. ``template`` is the path of its route.
    """
    if status == 403 or refused:
        return "access.refused"
    if method in SAFE_METHODS:
        return "admin.read" if template.startswith("/api/admin/") and status < 400 else None
    if template.startswith(NOTED_ELSEWHERE) or (method, template) == ENDED_ELSEWHERE:
        return None
    return ACTIONS.get((method, template), f"request.{method.lower()}")


def result_of(status: int, *, refused: bool) -> str:
    """Return how a request ended, in a word."""
    if status in {401, 403} or refused:
        return "refused"
    return "ok" if 0 < status < 400 else "failed" if status else "gone"


class Audited:
    """Notes requests of those who are signed in; nobody waits for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            _note(scope, status)


def _note(scope: Scope, status: int) -> None:
    state: dict[str, Any] = scope["state"]
    caller = state.get("caller")
    if caller is None:
        return
    ingress = scope["app"].state.ingress
    refused = bool(state.get("refused"))
    template = str(getattr(scope.get("route"), "path", ""))
    action = action_of(scope["method"], template, status, refused=refused)
    if action is None:
        return
    resource = problems.printable(scope["path"]).removeprefix(f"{_V1}/")[:_MAX_RESOURCE]
    # Pages ask for the same again and again: that somebody looks is recorded, not every look.
    if action == "admin.read" and not ingress.entries.is_new(caller.login.family, resource):
        return
    result = result_of(status, refused=refused)
    ingress.sign_in.note_later(caller.user_id, action, resource, state["visitor"], result)
