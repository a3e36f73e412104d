"""An attached terminal that resumes by itself after any disconnect."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from coditect import automation
from coditect.emulator import Emulator
from coditect.errors import ApiError, ClientError, ConnectionFailed, TerminalClosed, from_refusal
from coditect.models import RunResult, TerminalWindow
from coditect.terminal_state import MAX_UNACKNOWLEDGED, SIZINGS, Gap, TerminalState

_MAX_BUFFER = 4 << 20
_FORGET_SECONDS = 5.0
_FIRST_BACKOFF_SECONDS = 0.05
_MAX_BACKOFF_SECONDS = 3.0
# Close codes after which another try cannot help: bad frame, forbidden, not found, ended, replaced.
_FINAL_CLOSE_CODES = frozenset({4400, 4403, 4404, 4410, 4411})


class AsyncTerminal:
    """A terminal of a session: bytes out, bytes in, each exactly once.

    ``read`` returns output as it comes; ``send`` keeps input until the server has acknowledged it.
    Lost connections are made again with growing pauses until ``give_up_seconds`` have passed
    without one. ``events`` holds the last control frames and gaps, newest last.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Callable[[], Mapping[str, str]],
        renew: Callable[[], Awaitable[None]],
        client_id: str,
        cols: int | None,
        rows: int | None,
        offset: int | None,
        give_up_seconds: float = 60.0,
        forget: Callable[[], Awaitable[None]] | None = None,
        emulator: Emulator | None = None,
        label: str = "",
    ) -> None:
        """``forget`` ends the terminal and makes it one of this program's own (``automation.py``).

        ``cols`` and ``rows`` None: the terminal's size is not this client's matter. ``emulator``: one
        shows what is read, and what it answers is sent. ``label`` is what other windows call this one.
        """
        self.cols, self.rows = cols, rows
        self.status = "connecting"
        self.restarts = self.settled = 0
        self.sizing: str | None = None
        self.windows: tuple[TerminalWindow, ...] = ()
        self.events: deque[dict[str, Any]] = deque(maxlen=1000)
        self._url = url
        self._headers = headers
        self._renew = renew
        self._give_up_seconds = give_up_seconds
        self._forget = forget
        self._emulator = emulator
        self._label = label
        self._state = TerminalState(client_id, offset=offset)
        self._socket: ClientConnection | None = None
        self._buffer: deque[bytes] = deque()
        self._buffered = 0
        self._changed = asyncio.Condition()
        self._ended: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    async def connect(self, timeout_seconds: float) -> None:
        """Attach; raises ConnectionFailed or the server's ApiError when it cannot be done in time."""
        self._task = asyncio.create_task(self._run(), name="terminal")
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._attached()
                if self._forget is not None:
                    await automation.settle(self, timeout_seconds)
        except TimeoutError:
            await self.close()
            raise ConnectionFailed(
                self._url, f"not attached within {timeout_seconds:g} s"
            ) from None
        except BaseException:
            await self.close()
            raise

    async def _attached(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._state.attached or self._ended is not None)
        if self._ended is not None and not self._state.attached:
            raise self._ended

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def offset(self) -> int:
        """The number of the next output byte."""
        return self._state.offset or 0

    @property
    def client_id(self) -> str:
        """The id under which the server counts this client's input."""
        return self._state.client_id

    async def read(self, timeout_seconds: float = 30.0) -> bytes:
        """Return the next output; raises TerminalClosed at the end, TimeoutError when none comes."""
        async with asyncio.timeout(timeout_seconds), self._changed:
            await self._changed.wait_for(lambda: self._buffer or self._ended is not None)
            if not self._buffer:
                assert self._ended is not None
                raise self._ended
            data = b"".join(self._buffer)
            self._buffer.clear()
            self._buffered = 0
            self._changed.notify_all()
            return data

    async def read_until(self, pattern: bytes, timeout_seconds: float = 30.0) -> bytes:
        """Return output up to and including ``pattern``; what follows stays for the next read."""
        seen = bytearray()
        found = searched = 0
        try:
            async with asyncio.timeout(timeout_seconds):
                while (found := seen.find(pattern, searched)) < 0:
                    # What was searched once is not searched again, but for a pattern cut in two.
                    searched = max(0, len(seen) - len(pattern) + 1)
                    seen += await self.read(timeout_seconds)
        except BaseException:
            self.unread(bytes(seen))
            raise
        end = found + len(pattern)
        self.unread(bytes(seen[end:]))
        return bytes(seen[:end])

    async def send(self, data: bytes | str) -> None:
        """Type; waits while more than 1 MiB of input is unacknowledged."""
        raw = data.encode() if isinstance(data, str) else data
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._ended is not None or self._state.unacknowledged <= MAX_UNACKNOWLEDGED
            )
        if self._ended is not None:
            raise self._ended
        await self._use(raw)
        now = self._state.send(raw)
        if now and self._socket is not None:
            # When the connection is gone the input is kept, and sent again after the next attach.
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(now)

    async def _use(self, typed: bytes) -> None:
        """Have the terminal follow the one at whom a person types."""
        socket, emulator = self._socket, self._emulator
        if socket is None or emulator is None or not self._state.attached:
            return
        if emulator.uses(typed, asyncio.get_running_loop().time()):
            with contextlib.suppress(ConnectionClosed):
                await socket.send(json.dumps({"type": "active"}))

    async def run(self, command: str, *, timeout_seconds: float = 30.0) -> RunResult:
        """Have the shell run a line, or several, and return what it printed and its exit status.

        What it changes in the shell (directory, variables) stays. What was printed before and not read
        is dropped. Raises TimeoutError when it takes longer, having typed Ctrl-C; TerminalClosed when
        the shell ends; ShellRestarted when the container, and the shell with it, is replaced meanwhile.
        """
        return await automation.run(self, command, timeout_seconds)

    @property
    def is_own(self) -> bool:
        """True if the terminal is this program's alone."""
        return self._forget is not None

    async def resize(self, cols: int, rows: int) -> None:
        """Set the size that the shell sees, in characters."""
        self.cols, self.rows = cols, rows
        if self._socket is not None and self._state.attached:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(json.dumps({"type": "resize", "cols": cols, "rows": rows}))

    async def set_sizing(self, rule: str, timeout_seconds: float = 30.0) -> None:
        """Have the terminal sized by another rule, for everybody and for good: return once it is.

        ``latest``: by the window that a person used last; ``smallest`` or ``largest``: by that one of all
        that show it. ``sizing`` is the rule in force, ``windows`` are those that it chooses from.
        """
        if rule not in SIZINGS:
            raise ValueError(f"rule: one of {', '.join(SIZINGS)}, not {rule!r}")
        async with asyncio.timeout(timeout_seconds):
            while self.sizing != rule:
                if self._ended is not None:
                    raise self._ended
                await self._ask_for_sizing(rule)

    async def _ask_for_sizing(self, rule: str) -> None:
        """Ask on this connection; return when the rule is in force, or to be asked for on another one."""
        asked = self._socket
        if asked is not None and self._state.attached:
            with contextlib.suppress(ConnectionClosed):
                await asked.send(json.dumps({"type": "sizing", "rule": rule}))

        def heard() -> bool:
            again = self._state.attached and self._socket is not asked
            return self.sizing == rule or again or self._ended is not None

        async with self._changed:
            await self._changed.wait_for(heard)

    async def close(self) -> None:
        """Detach; the shell goes on, unless the terminal is this program's own."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._finish(TerminalClosed("detached"))
        forget, self._forget = self._forget, None
        if forget is not None:
            # The server ends it by itself when nobody is attached for long.
            with contextlib.suppress(ClientError, TimeoutError):
                async with asyncio.timeout(_FORGET_SECONDS):
                    await forget()

    async def _run(self) -> None:
        try:
            await self._keep_attached()
        except Exception as fault:  # noqa: BLE001 - handed to whoever reads or sends next
            await self._finish(fault)

    async def _keep_attached(self) -> None:
        pause = _FIRST_BACKOFF_SECONDS
        loop = asyncio.get_running_loop()
        lost_at = loop.time()
        while self._ended is None:
            at_least = 0.0
            try:
                await self._serve_once()
            except InvalidStatus as refused:
                error = from_refusal(refused)
                if not await self._may_try_again(error):
                    return
                at_least = error.retry_after or 0.0
                if loop.time() + at_least - lost_at > self._give_up_seconds:
                    await self._finish(error)
                    return
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else None
                if code in _FINAL_CLOSE_CODES:
                    reason = closed.rcvd.reason if closed.rcvd else ""
                    await self._finish(
                        TerminalClosed(reason or f"closed with {code}", close_code=code)
                    )
                    return
            except (OSError, TimeoutError, InvalidHandshake) as error:
                if loop.time() - lost_at > self._give_up_seconds:
                    await self._finish(
                        ConnectionFailed(self._url, str(error) or type(error).__name__)
                    )
                    return
            if self._state.attached:
                lost_at, pause = loop.time(), _FIRST_BACKOFF_SECONDS
            self._state.detach()
            self._socket = None
            self.status = "reconnecting"
            if loop.time() - lost_at > self._give_up_seconds:
                await self._finish(ConnectionFailed(self._url, "the server does not come back"))
                return
            spread = pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads reconnects
            await asyncio.sleep(at_least + spread)
            pause = min(pause * 2, _MAX_BACKOFF_SECONDS)

    async def _may_try_again(self, error: ApiError) -> bool:
        """Return whether another try may help after a refusal, having ended the terminal if none can."""
        if error.status in {429, 500, 502, 503, 504}:
            return True
        if error.status != 401:
            await self._finish(error)
            return False
        try:
            await self._renew()
        except Exception as failed:  # noqa: BLE001 - handed to whoever reads or sends next
            await self._finish(failed)
            return False
        return True

    async def _serve_once(self) -> None:
        query = self._state.query()
        if self.cols is not None and self.rows is not None:
            query |= {"cols": str(self.cols), "rows": str(self.rows)}
        if self._emulator is not None:
            query["emulator"] = "1"
        if self._label:
            query["label"] = self._label
        async with connect(
            f"{self._url}?{urlencode(query)}",
            additional_headers=dict(self._headers()),
            max_size=4 << 20,
            compression=None,
            open_timeout=20,
            ping_interval=20,
            ping_timeout=20,
            close_timeout=1,
        ) as socket:
            self._socket = socket
            async for message in socket:
                if isinstance(message, bytes):
                    await self._take_output(message)
                else:
                    await self._take_control(socket, json.loads(message))
        raise socket.protocol.close_exc  # the loop swallows that the server closed as it should

    async def _take_output(self, data: bytes) -> None:
        fresh = self._state.receive_output(data)
        if fresh and self._emulator is not None:
            fresh = self._emulator.show(self.offset - len(fresh), fresh)
        await self._queue(fresh)

    async def _queue(self, fresh: bytes) -> None:
        if not fresh:
            return
        async with self._changed:
            # A reader that is slower than the shell slows the socket, not the memory.
            await self._changed.wait_for(lambda: self._buffered < _MAX_BUFFER)
            self._buffer.append(fresh)
            self._buffered += len(fresh)
            self._changed.notify_all()

    async def _take_control(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        self.events.append(frame)
        kind = frame.get("type")
        if self._emulator is not None:
            await self._queue(self._emulator.hear(frame))
        if kind == "attached":
            gap, resend = self._state.receive_attached(frame)
            if isinstance(gap, Gap):
                self.events.append({"type": "gap", "start": gap.start, "end": gap.end})
            if resend:
                await socket.send(resend)
            self.status = "ready"
        elif kind == "restarted":
            self.restarts += 1
        elif kind == "input_ack":
            self._state.receive_ack(int(frame["offset"]))
        elif kind == "status":
            self.status = str(frame.get("status", self.status))
        elif kind == "sizing":
            self.sizing = str(frame.get("rule"))
            self.windows = tuple(map(TerminalWindow.from_json, frame.get("windows", ())))
        elif kind == "exit":
            code = frame.get("code")
            await self._finish(TerminalClosed(f"the shell exited with {code}", exit_code=code))
        async with self._changed:
            self._changed.notify_all()

    async def _finish(self, error: Exception) -> None:
        async with self._changed:
            if self._ended is None:
                self._ended = error
                self.status = "closed"
            self._changed.notify_all()

    def unread(self, data: bytes) -> None:
        """Have the next read begin with ``data``."""
        if data:
            self._buffer.appendleft(data)
            self._buffered += len(data)
