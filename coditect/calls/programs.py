"""Calls of programs in a container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from coditect import addresses, program
from coditect.connection import DEFAULT_TIMEOUT_SECONDS, Connection, given
from coditect.errors import Unauthorized
from coditect.models import ExecResult, Process
from coditect.program import AsyncProgram


class ProgramCalls(Connection):
    """Calls of programs in a container."""

    async def exec(
        self,
        session_id: str,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout_seconds: float = 30.0,
    ) -> ExecResult:
        """Run a command in the workspace and wait for it; killed after ``timeout_seconds``.

        What it leaves in the background goes on. Bytes that are no UTF-8 are lone surrogates, as of
        ``os.fsdecode``. Raises TypeError for arguments that are no sequence of strings: a line of shell is
        ``["bash", "-c", line]``.
        """
        body = given(
            argv=_arguments(argv),
            timeout_seconds=timeout_seconds,
            stdin=stdin,
            cwd=cwd,
            env=None if env is None else dict(env),
        )
        answer = await self._request(
            "POST",
            addresses.session(session_id, "exec"),
            json=body,
            timeout=timeout_seconds + self.timeout_seconds,
        )
        return ExecResult.from_json(answer.json())

    async def program(
        self,
        session_id: str,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        tty: tuple[int, int] | None = None,
        on_close: Literal["kill", "hang_up", "leave"] = "kill",
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> AsyncProgram:
        """Start a program whose output is read as it comes and that is given input; close it.

        ``tty``: columns and rows of a terminal for it; without, it runs on pipes, its two outputs apart.
        ``on_close``: what becomes of it when this is closed, or the connection lost, before its end.
        ``timeout_seconds`` is for its start. Raises NotFound and its like for what cannot be run.
        """
        wanted = given(
            argv=_arguments(argv),
            cwd=cwd,
            env=None if env is None else dict(env),
            tty=None if tty is None else {"cols": tty[0], "rows": tty[1]},
            on_close=on_close,
        )
        url = self._socket_url(addresses.session(session_id, "exec/ws"))
        token = self.access_token
        try:
            started = await program.start(url, self._headers(), wanted, timeout_seconds)
        except Unauthorized:
            if self.refresh_token is None:
                raise
            await self.renew(token)
            started = await program.start(url, self._headers(), wanted, timeout_seconds)
        self._attached.add(started)
        return started

    async def processes(self, session_id: str) -> list[Process]:
        """List the processes of the session's container."""
        body = (await self._request("GET", addresses.session(session_id, "processes"))).json()
        return [Process.from_json(item) for item in body["processes"]]


def _arguments(argv: Sequence[str]) -> list[str]:
    if isinstance(argv, str | bytes) or not all(isinstance(part, str) for part in argv):
        raise TypeError(f"argv is a sequence of strings, the program first, not {argv!r}")
    return list(argv)
