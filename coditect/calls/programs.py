"""Calls of programs in a container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coditect import addresses
from coditect.connection import Connection, given
from coditect.models import ExecResult, Process


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
        if isinstance(argv, str | bytes) or not all(isinstance(part, str) for part in argv):
            raise TypeError(f"argv is a sequence of strings, the program first, not {argv!r}")
        body = given(
            argv=list(argv),
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

    async def processes(self, session_id: str) -> list[Process]:
        """List the processes of the session's container."""
        body = (await self._request("GET", addresses.session(session_id, "processes"))).json()
        return [Process.from_json(item) for item in body["processes"]]
