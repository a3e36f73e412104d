"""Calls of terminals."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

from coditect import addresses
from coditect.connection import DEFAULT_TIMEOUT_SECONDS, Connection, given, new_key
from coditect.emulator import Emulator
from coditect.models import TerminalInfo
from coditect.terminal import AsyncTerminal
from coditect.terminal_state import AUTOMATION_PREFIX


class TerminalCalls(Connection):
    """Calls of terminals."""

    async def terminals(self, session_id: str) -> list[TerminalInfo]:
        """List the session's terminals."""
        body = (await self._request("GET", addresses.session(session_id, "terminals"))).json()
        return [TerminalInfo.from_json(item) for item in body["terminals"]]

    async def start_terminal(
        self,
        session_id: str,
        name: str,
        *,
        cols: int | None = None,
        rows: int | None = None,
        cwd: str | None = None,
    ) -> TerminalInfo:
        """Start a terminal without attaching to it; one that is there already stays as it is."""
        answer = await self._request(
            "POST",
            addresses.session(session_id, "terminals"),
            json=given(name=name, cols=cols, rows=rows, cwd=cwd),
            key=new_key(),
        )
        return TerminalInfo.from_json(answer.json())

    async def output(
        self, session_id: str, name: str = "main", *, offset: int = 0
    ) -> AsyncIterator[bytes]:
        """Yield what a terminal has printed from byte ``offset`` on, as far as it is kept.

        Needs no running container. Raises NotFound for a terminal that never was.
        """
        path = addresses.session(session_id, f"terminals/{addresses.segment(name)}/output")
        async for part in self._stream(path, {"offset": offset}):
            yield part

    async def end_terminal(self, session_id: str, name: str) -> None:
        """Hang up a terminal, and forget what it printed."""
        url = addresses.session(session_id, f"terminals/{addresses.segment(name)}")
        await self._request("DELETE", url, key=new_key())

    async def terminal(
        self,
        session_id: str,
        name: str | None = None,
        *,
        cols: int | None = None,
        rows: int | None = None,
        offset: int | None = None,
        emulator: bool = False,
        label: str = "",
        client_id: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        give_up_seconds: float = 60.0,
    ) -> AsyncTerminal:
        """Attach to a terminal; it resumes by itself.

        Without a ``name`` it is a new one for this program alone: pages do not show it, its prompt is
        ``$ `` and has been read already, and closing it ends its shell and forgets it. With a name,
        as ``main``, it is a person's as well: its shell is started if there is none, what it printed
        from byte ``offset`` on comes first (None: everything kept), and closing only detaches.
        ``cols`` and ``rows`` claim a size, as somebody who looks at it. ``emulator``: what is read is
        shown by one, whose answers are sent: it gets no question that is not its own to answer.
        ``label`` is what people at other windows of the terminal see of this one (64 characters).
        ``give_up_seconds``: how long it tries to get a lost connection back before it is closed.
        """
        own = name is None
        if own and offset is not None:
            raise ValueError("offset: of which terminal? give its name")
        name = name or f"{AUTOMATION_PREFIX}{secrets.token_hex(6)}"
        terminal = AsyncTerminal(
            self._socket_url(
                addresses.session(session_id, f"terminals/{addresses.segment(name)}/ws")
            ),
            headers=self._headers,
            renew=self.refresh,
            client_id=client_id or f"py-{secrets.token_hex(8)}",
            cols=cols,
            rows=rows,
            offset=offset,
            give_up_seconds=give_up_seconds,
            forget=(lambda: self.end_terminal(session_id, name)) if own else None,
            emulator=Emulator() if emulator else None,
            label=label,
        )
        await terminal.connect(timeout_seconds)
        self._attached.add(terminal)
        return terminal
