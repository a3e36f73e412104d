"""Calls of programs in a container."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal

from coditect import addresses, program
from coditect.connection import DEFAULT_TIMEOUT_SECONDS, Connection, given, new_key
from coditect.errors import Unauthorized
from coditect.models import ExecResult, NamedProcess, OutputPiece, Process
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

    async def start_process(
        self,
        session_id: str,
        name: str,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        tty: tuple[int, int] | None = None,
        key: str | None = None,
    ) -> NamedProcess:
        """Start a program under a name; it goes on by itself, and what it prints is kept.

        The same call again returns the program that it has started, however that is by now. Raises Conflict
        for another program of that name, until it is deleted, and NotFound and its like as ``exec`` does.
        """
        body = given(
            name=name,
            argv=_arguments(argv),
            cwd=cwd,
            env=None if env is None else dict(env),
            tty=None if tty is None else {"cols": tty[0], "rows": tty[1]},
        )
        url = addresses.session(session_id, "processes")
        answer = await self._request("POST", url, json=body, key=key or new_key())
        return NamedProcess.from_json(answer.json())

    async def named_processes(self, session_id: str) -> AsyncIterator[NamedProcess]:
        """Yield the session's programs by name, page by page. Needs no running container."""
        after: str | None = ""
        while after is not None:
            query = {"named": "true", "after": after}
            url = addresses.session(session_id, "processes")
            page = (await self._request("GET", url, params=query)).json()
            for each in page.get("named", ()):
                yield NamedProcess.from_json(each)
            after = page.get("next")

    async def process(self, session_id: str, name: str) -> NamedProcess:
        """Return how a program is. Needs no running container."""
        url = addresses.session(session_id, f"processes/{addresses.segment(name)}")
        return NamedProcess.from_json((await self._request("GET", url)).json())

    async def wait_for_process(
        self, session_id: str, name: str, *, timeout_seconds: float = 30.0
    ) -> NamedProcess:
        """Return how a program is at its end, or, still ``running``, after the time (600 s at most)."""
        url = addresses.session(session_id, f"processes/{addresses.segment(name)}/wait")
        answer = await self._request(
            "GET",
            url,
            params={"timeout_seconds": timeout_seconds},
            timeout=timeout_seconds + self.timeout_seconds,
        )
        return NamedProcess.from_json(answer.json())

    async def signal_process(self, session_id: str, name: str, signal: str) -> None:
        """Signal a program's process group, as by ``TERM``; nothing once it has ended."""
        url = addresses.session(session_id, f"processes/{addresses.segment(name)}/signal")
        await self._request("POST", url, json={"signal": signal})

    async def end_process(self, session_id: str, name: str) -> None:
        """Kill a program, and forget it and what it has printed."""
        url = addresses.session(session_id, f"processes/{addresses.segment(name)}")
        await self._request("DELETE", url, key=new_key())

    async def process_output(
        self, session_id: str, name: str, *, offset: int = 0, follow: bool = False
    ) -> AsyncIterator[OutputPiece]:
        """Yield what a program has printed from byte ``offset`` on, as far as it is kept.

        ``follow``: go on to its end. A piece that begins beyond the last one's end says what is lost between.
        """
        url = addresses.session(session_id, f"processes/{addresses.segment(name)}/output")
        place = offset

        def opened(headers: Mapping[str, str]) -> None:
            nonlocal place
            place = int(headers.get("x-output-start", place))

        while True:
            parameters = {"offset": place, "follow": "true" if follow else "false"}
            async for data in self._stream(url, parameters, opened):
                yield OutputPiece(place, data)
                place += len(data)
            if not follow:
                return
            found = await self.process(session_id, name)
            if found.state != "running" and found.end_offset <= place:
                return


def _arguments(argv: Sequence[str]) -> list[str]:
    if isinstance(argv, str | bytes) or not all(isinstance(part, str) for part in argv):
        raise TypeError(f"argv is a sequence of strings, the program first, not {argv!r}")
    return list(argv)
