"""Asynchronous client of the HTTP API."""

from __future__ import annotations

from coditect.calls.account import AccountCalls
from coditect.calls.admin import AdminCalls
from coditect.calls.environment import EnvironmentCalls
from coditect.calls.files import FileCalls
from coditect.calls.ports import PortCalls
from coditect.calls.programs import ProgramCalls
from coditect.calls.sessions import SessionCalls
from coditect.calls.ssh import SshCalls
from coditect.calls.terminals import TerminalCalls


class AsyncClient(
    AccountCalls,
    EnvironmentCalls,
    AdminCalls,
    SessionCalls,
    ProgramCalls,
    PortCalls,
    FileCalls,
    TerminalCalls,
    SshCalls,
):
    """One signed-in user of one server.

    Not tied to a session: calls name the session they mean. An expired access token is refreshed
    once by itself, and a server that answers 429, or 503 with ``Retry-After``, is asked again when it
    says, for up to ``retry_seconds`` a call. Raises the errors of ``coditect.errors``; a
    ``ConnectionFailed`` on a mutating call is safe to repeat with the same ``key`` (sent as
    ``Idempotency-Key``).
    """
