"""Carries a terminal's bytes between a browser and CODI, over whatever happens to the container.

``relay_state`` decides; this file does. Two tasks for a socket: one reads the browser, one holds the
connection to CODI and makes it again. What either side does not read is not read from the other, so
a socket costs a few buffers whatever the shell prints or the browser sends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from websockets.exceptions import ConnectionClosed

from actors.core.backoff import Backoff
from actors.core.errors.access import PermissionDenied
from actors.core.errors.base import Busy, CoditectError, DeadlineExceeded, Unavailable
from actors.core.errors.requests import NotFound, PreconditionFailed
from actors.core.errors.sessions import Fenced, LaunchFailed, NotBound, SessionEnded
from actors.core.ports.clock import Clock
from actors.core.ports.journal import Journal
from actors.core.records.sessions import Route, SessionEvent, SessionPhase
from cluster.codi.terminals.frames import (
    CLOSE_BAD_FRAME,
    CLOSE_ENDED,
    CLOSE_SLOW,
    BadFrame,
    snapshot,
)
from serve_app.dependencies import TerminalConnection, TerminalDialer
from serve_app.http.browser_socket import (
    CLOSE_TRY_AGAIN,
    MAX_FRAME,
    Disconnected,
    FrameSocket,
    close_code,
)
from serve_app.sessions.event_hub import EventHub
from serve_app.sessions.gateway import SessionGateway
from serve_app.terminals.relay_state import (
    Finish,
    Output,
    RelayState,
    Replay,
    ShowState,
    Status,
    ToBrowser,
    ToCodi,
)

logger = structlog.get_logger(__name__)

RECOVERY_SECONDS = 180.0
ROUTE_SECONDS = 20.0
NEWER_ROUTE_SECONDS = 3.0
DIAL_SECONDS = 5.0
SAME_CONTAINER_SECONDS = 1.0
INPUT_SECONDS = 60.0
REST_SECONDS = 10.0
TRANSCRIPT_SECONDS = 0.05
REPLAY_PAGE = 256 << 10
RENEWAL_PAUSE = 5.0
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0
_TRY_ANOTHER = (Unavailable, DeadlineExceeded, Fenced, PermissionDenied, NotBound, Busy)
_UP = frozenset({SessionPhase.STARTING, SessionPhase.READY, SessionPhase.RECOVERING})


@dataclass(frozen=True, slots=True)
class RelayTools:
    """Tools of every relay of a replica. ``recovered`` gets how long an outage lasted.

    ``renew_after``: seconds after which a connection to CODI is made anew, where its way ends each in time.
    """

    gateway: SessionGateway
    dialer: TerminalDialer
    journal: Journal
    hub: EventHub
    clock: Clock
    new_id: Callable[[str], str]
    recovered: Callable[[float], None]
    renew_after: float | None = None


class TerminalRelay:
    """One browser's socket on one terminal, accepted already."""

    def __init__(
        self,
        tools: RelayTools,
        socket: FrameSocket,
        state: RelayState,
        session_id: str,
        terminal: str,
    ) -> None:
        self._tools = tools
        self._socket = socket
        self._state = state
        self._session_id = session_id
        self._terminal = terminal
        self._connection: TerminalConnection | None = None
        self._route: Route | None = None
        self._first: Route | None = None
        self._sending = asyncio.Lock()
        self._room = asyncio.Event()
        self._wake = asyncio.Event()
        self._typed_asleep = False
        self._asked_for = 0
        self._wished = False
        self._ended = asyncio.Event()
        self._gone = asyncio.Event()
        self._lost_at: float | None = None
        self._renew_at: float | None = None

    async def run(self, route: Route | None = None) -> None:
        """Relay until either side ends it; closes the browser's socket with the reason.

        ``route`` is where the container was a moment ago, if that is known.
        """
        self._first = route
        self._tools.hub.listen(self._session_id, self._on_event)
        tasks = [
            asyncio.create_task(work, name=f"{name} {self._session_id}/{self._terminal}")
            for name, work in (
                ("read browser", self._read_browser()),
                ("hold codi", self._hold_codi()),
                ("session's end", self._until_ended()),
                ("container's end", self._cut_when_gone()),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finish = _result(done.pop())
        finally:
            self._tools.hub.unlisten(self._session_id, self._on_event)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._hang_up()
        if finish is not None:
            await self._socket.close(finish.code, finish.reason)

    # ---- the browser ----------------------------------------------------------------------------

    async def _read_browser(self) -> Finish | None:
        while True:
            frame = await self._socket.receive()
            if frame is None:
                return None
            if len(frame) > MAX_FRAME:
                return Finish(CLOSE_BAD_FRAME, f"frames have up to {MAX_FRAME} bytes")
            try:
                async with asyncio.timeout(INPUT_SECONDS):
                    await self._take(frame)
            except BadFrame as error:
                return Finish(CLOSE_BAD_FRAME, str(error))
            except TimeoutError:
                if self._state.connected:
                    return Finish(CLOSE_SLOW, "the terminal takes no input")

    async def _take(self, frame: bytes | str) -> None:
        async with self._sending:
            if isinstance(frame, str):
                outputs = self._state.browser_says(frame)
            else:
                outputs = self._state.typed(frame)
                self._tools.gateway.note_use(self._session_id)
                if self._state.status in {Status.HIBERNATED, Status.FAILED}:
                    self._typed_asleep = True
                    self._wake.set()
            await self._carry_out(outputs)
        while self._state.full:
            self._room.clear()
            await self._room.wait()

    # ---- CODI -----------------------------------------------------------------------------------

    async def _hold_codi(self) -> Finish | None:
        replaced = False
        while True:
            finish = await self._connect(replaced)
            if finish is not None:
                return finish
            outcome = await self._pump()
            while outcome is None:
                outcome = await self._renew() or await self._pump()
            if isinstance(outcome, Finish):
                return outcome
            replaced = outcome
            self._lost_at = self._tools.clock.monotonic()
            await self._carry_out(self._state.become(Status.RECOVERING))

    async def _pump(self) -> Finish | bool | None:
        """Carry frames to the browser until the connection ends; return None when it is to be renewed.

        Return how the relay ends, or else whether the container is known to be replaced.
        """
        connection = self._connection
        assert connection is not None
        try:
            while True:
                frame = await self._next_frame(connection)
                if frame is None:
                    return None
                if isinstance(frame, bytes):
                    await self._show(frame)
                    continue
                finish = await self._carry_out(self._state.codi_says(frame))
                self._room.set()
                if finish is not None:
                    return finish
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
            reason = closed.rcvd.reason if closed.rcvd else ""
        self._connection = None
        end = self._state.codi_closed(code, reason)
        return end if isinstance(end, Finish) else end.replaced or self._gone.is_set()

    async def _next_frame(self, connection: TerminalConnection) -> bytes | str | None:
        """Return CODI's next frame; None when the connection has been open for long enough."""
        if self._renew_at is None:
            return await connection.recv()
        left = self._renew_at - self._tools.clock.monotonic()
        if left <= 0:
            return None
        try:
            async with asyncio.timeout(left):
                return await connection.recv()
        except TimeoutError:
            return None

    async def _renew(self) -> Finish | None:
        """Attach anew, and only then close the former connection: nothing was read of it meanwhile.

        What cannot be renewed goes on as it is, for as long as it lasts.
        """
        former = self._connection
        assert former is not None
        try:
            finish = await self._attach(replaced=False)
        except CoditectError as error:
            logger.info(
                "connection not renewed yet", session_id=self._session_id, reason=str(error)
            )
            if self._connection is former:
                self._renew_at = self._tools.clock.monotonic() + RENEWAL_PAUSE
                return None
            finish = await self._connect(replaced=False)
        with suppress(OSError, ConnectionClosed):
            await former.close()
        return finish

    async def _connect(self, replaced: bool) -> Finish | None:
        """Attach to the terminal, wherever it is now. Returns how the relay ends if it cannot."""
        clock = self._tools.clock
        deadline = clock.monotonic() + RECOVERY_SECONDS
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while clock.monotonic() < deadline:
            try:
                return await self._attach(replaced)
            except (PreconditionFailed, LaunchFailed) as resting:
                hibernated = isinstance(resting, PreconditionFailed)
                await self._rest(Status.HIBERNATED if hibernated else Status.FAILED)
                deadline = clock.monotonic() + RECOVERY_SECONDS
                replaced = False
                self._route = None
                continue
            except (NotFound, SessionEnded):
                return Finish(CLOSE_ENDED, "the session has ended")
            except _TRY_ANOTHER as error:
                logger.info(
                    "terminal not attached yet",
                    session_id=self._session_id,
                    terminal=self._terminal,
                    reason=str(error),
                )
                replaced = not replaced or isinstance(error, Fenced)
            except CoditectError as error:
                return Finish(close_code(error), str(error))
            await clock.sleep(backoff.next())
        return Finish(CLOSE_TRY_AGAIN, "the terminal does not come back")

    async def _attach(self, replaced: bool) -> Finish | None:
        route = await self._find_route(replaced)
        again = self._route is not None and route == self._route and not replaced
        self._route = route
        self._gone.clear()
        seconds = SAME_CONTAINER_SECONDS if again else DIAL_SECONDS

        async def dial(route: Route) -> TerminalConnection:
            connection: TerminalConnection = await self._tools.dialer.connect_terminal(
                route, self._terminal, self._state.query(), timeout_seconds=seconds
            )
            return connection

        connection = await self._tools.gateway.start(route, dial)
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                first = json.loads(await connection.recv())
        except (ConnectionClosed, TimeoutError) as error:
            await connection.close()
            raise Unavailable("the terminal", str(error) or "no answer") from error
        finish: Finish | None
        async with self._sending:
            self._connection = connection
            try:
                kept_from = await self._kept_from(int(first["output_offset"]))
                finish = await self._carry_out(self._state.attached(first, kept_from))
            except CoditectError:
                # What was not carried out must not be overtaken by what is typed next.
                self._connection = None
                self._state.codi_closed(None, "")
                await connection.close()
                raise
        self._room.set()
        self._wished = True
        if (renew_after := self._tools.renew_after) is not None:
            self._renew_at = self._tools.clock.monotonic() + renew_after
        if self._lost_at is not None:
            self._tools.recovered(self._tools.clock.monotonic() - self._lost_at)
            self._lost_at = None
        return finish

    async def _find_route(self, replaced: bool) -> Route:
        """Return the route: the known one first, since a connection may break and nothing else.

        While the first one is waited for, what the journal has is shown.
        """
        first, self._first = self._first, None
        if first is not None and self._route is None:
            return first
        if self._route is not None and not replaced:
            return self._route
        asking = asyncio.ensure_future(
            self._tools.gateway.route(
                self._session_id,
                newer_than_epoch=self._route.epoch if self._route else 0,
                # Not for long: the connection may have broken twice with a container that is well.
                timeout_seconds=NEWER_ROUTE_SECONDS if self._route else ROUTE_SECONDS,
            )
        )
        try:
            if not self._state.shown:
                await asyncio.wait({asking}, timeout=TRANSCRIPT_SECONDS)
                if not asking.done():
                    await self._show_transcript(Status.RECOVERING)
            return await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    # ---- the journal ----------------------------------------------------------------------------

    async def _kept_from(self, begins: int) -> int | None:
        """Return where the journal's output begins, if output before CODI's is wanted."""
        if not self._state.missing_before(begins):
            return None
        record = await self._tools.journal.terminal(self._session_id, self._terminal)
        return None if record is None else record.start

    async def _show_transcript(self, status: Status) -> None:
        """Show what is kept before there is a container to ask."""
        record = await self._tools.journal.terminal(self._session_id, self._terminal)
        if record is None or record.deleted:
            return
        async with self._sending:
            await self._carry_out([*self._state.transcript(record), *self._state.become(status)])

    async def _replay(self, begin: int, end: int) -> Finish | None:
        while begin < end:
            pieces = await self._tools.journal.output(
                self._session_id, self._terminal, begin, min(REPLAY_PAGE, end - begin)
            )
            if not pieces or pieces[0][0] != begin:  # it was cut off meanwhile
                return Finish(CLOSE_SLOW, "output is missing; attach again")
            for offset, data in pieces:
                if offset != begin or begin >= end:
                    break
                await self._show(data[: end - begin])
                begin += len(data[: end - begin])
        return None

    async def _show_state(self, offset: int) -> None:
        state = await self._tools.journal.state(self._session_id, self._terminal, offset)
        if state:
            await self._socket.send(snapshot(state))

    async def _show(self, data: bytes) -> None:
        for part in self._state.output(data):
            await self._socket.send(part)

    async def _rest(self, status: Status) -> None:
        """Wait until somebody wants the session; typing is such a wish."""
        self._wake.clear()
        self._lost_at = None
        if not self._wished:
            self._wished = self._typed_asleep = True  # opening a terminal is one, too
            await self._show_transcript(status)
        else:
            # Who typed while the session came up, before it failed, waits for an answer; asked for once.
            failed = status is Status.FAILED
            self._typed_asleep = failed and self._state.pending_to > self._asked_for
            await self._carry_out(self._state.become(status))
            if not self._typed_asleep:
                # An event may have overtaken the answer that led here: look again now and then.
                with suppress(TimeoutError):
                    async with asyncio.timeout(REST_SECONDS):
                        await self._wake.wait()
        if self._typed_asleep:
            self._asked_for = self._state.pending_to
            await self._tools.gateway.resume(self._session_id, self._tools.new_id("k"))

    async def _cut_when_gone(self) -> Finish | None:
        """End a connection that may never notice that its container is gone."""
        while True:
            await self._gone.wait()
            if self._connection is not None:
                await self._hang_up()
            await self._tools.clock.sleep(_LONGEST_PAUSE)

    async def _hang_up(self) -> None:
        connection = self._connection
        if connection is not None:
            with suppress(OSError, ConnectionClosed):
                await connection.close()

    async def _carry_out(self, outputs: Sequence[Output]) -> Finish | None:
        for output in outputs:
            match output:
                case ToBrowser(text):
                    await self._socket.send(text)
                case ToCodi(frame):
                    if self._connection is not None:
                        # What is lost with the connection was not acknowledged, and is sent again.
                        with suppress(ConnectionClosed):
                            await self._connection.send(frame)
                case ShowState(offset):
                    await self._show_state(offset)
                case Replay(begin, end):
                    finish = await self._replay(begin, end)
                    if finish is not None:
                        return finish
                case Finish():
                    return output
        return None

    # ---- the session ----------------------------------------------------------------------------

    async def _until_ended(self) -> Finish | None:
        await self._ended.wait()
        return Finish(CLOSE_ENDED, "the session has ended")

    def _on_event(self, event: SessionEvent) -> None:
        if event.type == "ended":
            self._ended.set()
        if event.type != "status":
            return
        phase, container_id = event.data.get("phase"), event.data.get("container_id")
        if phase in _UP:
            self._wake.set()
        route = self._route
        if route is not None and self._state.connected:
            lost = container_id is None and phase == SessionPhase.RECOVERING
            moved = container_id is not None and container_id != route.container_id
            if (lost or moved) and int(event.data.get("epoch", 0)) >= route.epoch:
                self._gone.set()


def _result(task: asyncio.Task[Any]) -> Finish | None:
    try:
        finish: Finish | None = task.result()
    except Disconnected:
        return None
    except CoditectError as error:
        return Finish(close_code(error), str(error))
    return finish
