"""A client's WebSocket (RFC 6455) on a terminal, as an asyncio protocol: no task, no queue.

Bytes are taken from the journal when the transport has room, so a client that does not read
costs one transport buffer and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict

from cluster.codi.agent.terminals.terminal import Terminal
from cluster.codi.agent.terminals.viewers import Role, Window
from cluster.codi.agent.websocket import Unreadable, WebSocket
from cluster.codi.terminals.frames import (
    CLOSE_BAD_FRAME,
    CLOSE_ENDED,
    CLOSE_REPLACED,
    CLOSE_SLOW,
    Active,
    BadFrame,
    ChooseSizing,
    Hidden,
    Request,
    Resize,
    control,
    parse_control,
    snapshot,
)
from cluster.codi.terminals.sizing import Rule

_MAX_TEXT = 64 << 10
_CHUNK = 64 << 10
_ATTACH_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
KEEPALIVE_SECONDS = 10.0
_SILENT_ROUNDS = 3


class TerminalSocket(asyncio.Protocol):
    """Takes over a transport whose upgrade has been answered."""

    def __init__(
        self,
        key: int,
        transport: asyncio.Transport,
        terminal: Terminal,
        on_lost: Callable[[TerminalSocket], None],
    ) -> None:
        self.key = key
        self.terminal = terminal
        self._transport = transport
        self._websocket = WebSocket(transport, max_text=_MAX_TEXT)
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._full = False
        self._attached = False
        self._closing = False
        self._held = False
        self._request: Request | None = None
        self._began = False
        self._sent: tuple[tuple[int, int], Role] | None = None
        self._sent_sizing: tuple[Rule, tuple[Window, ...]] | None = None
        self._early = b""
        self._attaching: asyncio.TimerHandle | None = None
        self._closer: asyncio.TimerHandle | None = None
        self._silent = 0
        self._stalled = 0
        self._keepalive = self._loop.call_later(KEEPALIVE_SECONDS, self._keep_alive)

    def start(self, request: Request, early: bytes, *, began: bool = False) -> None:
        """Attach as soon as it can be said where. ``early`` came right behind the upgrade.

        ``began``: the shell was started for this connection.
        """
        self._early, self._began = early, began
        if self.terminal.protocol.may_attach(request.client):
            self._attach(request)
            return
        self._request = request
        self._attaching = self._loop.call_later(
            _ATTACH_SECONDS, self._close, CLOSE_SLOW, "the journal does not answer"
        )
        self.hold_input(held=True)
        self.terminal.wait_to_attach(self)

    def try_attach(self) -> bool:
        """Attach if that can be done now; say whether this one waits no more."""
        request = self._request
        if request is None or self._closing:
            return True
        if not self.terminal.protocol.may_attach(request.client):
            return False
        self._request = None
        if self._attaching is not None:
            self._attaching.cancel()
        self.hold_input(held=False)
        self._attach(request)
        return True

    def _attach(self, request: Request) -> None:
        """Send the client its place, then what is kept."""
        attached = self.terminal.attach(self, request, began=self._began)
        self._attached = True
        (cols, rows), role = self._sent = self.terminal.size, self.terminal.role(self.key)
        self.send_control(
            control(
                "attached",
                output_offset=attached.output_offset,
                input_offset=attached.input_offset,
                truncated=attached.truncated,
                shell_offset=attached.shell_offset,
                cols=cols,
                rows=rows,
                sizes=role.sizes,
                answers=role.answers,
                answers_from=role.answers_from,
            )
        )
        if attached.snapshot:
            self.send_control(snapshot(attached.snapshot))
        self._inform_of_sizing()
        self.pump()
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def pump(self) -> None:
        """Send output while the transport has room, what is kept of input, the end behind the last byte."""
        protocol, going_on = self.terminal.protocol, True
        while going_on and self._attached and not self._full and not self._closing:
            data = protocol.take(self.key, _CHUNK)
            going_on = len(data) == _CHUNK
            # Together: who waits for an echo has it first, and everybody on the way one piece less.
            self._send(data, None if going_on else protocol.acknowledgement(self.key))
            if data:
                self._stalled = 0
                self.terminal.taken()
        if (
            self._attached
            and not self._closing
            and self.terminal.ended
            and not protocol.behind(self.key)
        ):
            self.send_control(control("exit", code=self.terminal.exit_code))
            self._close(CLOSE_ENDED, "the shell has ended")

    def send_control(self, frame: str) -> None:
        """Send a text frame; nothing to a client whose close has come in with what is being taken."""
        if not self._closing:
            self._websocket.send(frame)

    def inform(self) -> None:
        """Report a new size, unless it is this client's own, and a change of who answers."""
        if self._sent is None:
            return  # its first frame says so
        (size, role), now = self._sent, (self.terminal.size, self.terminal.role(self.key))
        self._sent = now
        if (now[0] != size and not (role.sizes and now[1].sizes)) or now[1].sizes != role.sizes:
            (cols, rows), sizes = now[0], now[1].sizes
            self.send_control(control("resized", cols=cols, rows=rows, sizes=sizes))
        if now[1].answers != role.answers:
            answers = control("answers", answers=now[1].answers, offset=now[1].answers_from)
            self.send_control(answers)
        self._inform_of_sizing()

    def _inform_of_sizing(self) -> None:
        """Report by which rule and by whose windows the terminal has its size, if that is news."""
        rule, windows = sizing = self.terminal.sizing(self.key)
        if sizing != self._sent_sizing:
            self._sent_sizing = sizing
            shown = [asdict(window) for window in windows]
            self.send_control(control("sizing", rule=rule, windows=shown))

    def cut(self, reason: str) -> None:
        """Close the connection with a reason; the client comes back for the rest."""
        self.send_control(control("dropped", reason=reason))
        self._close(CLOSE_SLOW, reason)

    def replace(self) -> None:
        """End the connection: its client has come back on another one."""
        self._close(CLOSE_REPLACED, "the client is attached on another connection")

    def hold_input(self, *, held: bool) -> None:
        """Let the client wait while the shell does not read."""
        if held != self._held and not self._transport.is_closing():
            self._held = held
            if held:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take frames from the client."""
        self._silent = 0
        try:
            for message in self._websocket.receive(data):
                if not self._closing:
                    self._take(message)
        except (BadFrame, Unreadable) as error:
            self._close(CLOSE_BAD_FRAME, str(error))
        if not self._websocket.open:
            self._closing = True
            self._detach()
            self._abort_soon()

    def eof_received(self) -> bool:
        """Close: nobody listens at the other side."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Detach."""
        self._closing = True
        for timer in (self._attaching, self._closer, self._keepalive):
            if timer is not None:
                timer.cancel()
        self._detach()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """Note that the client does not keep up."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on."""
        self._full = False
        self.pump()

    def close(self, code: int, reason: str) -> None:
        """End the connection."""
        self._close(code, reason)

    def _take(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            self.terminal.type(self.key, message)
            return
        match parse_control(message):
            case Resize(size):
                self.terminal.show(self.key, size)
            case Hidden():
                self.terminal.show(self.key, None)
            case Active():
                self.terminal.use(self.key)
            case ChooseSizing(rule):
                self.terminal.choose_sizing(rule)

    def _send(self, *messages: bytes | str | None) -> None:
        self._websocket.send(*(message for message in messages if message))

    def _keep_alive(self) -> None:
        """Ping, and cut who is gone or has stopped reading for good (the others may wait for it)."""
        self._keepalive = self._loop.call_later(KEEPALIVE_SECONDS, self._keep_alive)
        if self._closing:
            return
        self._stalled = self._stalled + 1 if self._full else 0
        if self._stalled >= _SILENT_ROUNDS:
            self.cut("nothing was read for too long")
            return
        self._silent = 0 if self._held else self._silent + 1
        if self._silent > _SILENT_ROUNDS:
            self._transport.abort()
            return
        self._websocket.ping()

    def _close(self, code: int, reason: str) -> None:
        if self._closing:
            return
        self._send(self.terminal.protocol.acknowledgement(self.key))
        self._closing = True
        self._detach()
        self._websocket.close(code, reason)
        self._abort_soon()

    def _abort_soon(self) -> None:
        """Give the other side time to answer the close; one that does not read gets no more."""
        if self._closer is None:
            self._closer = self._loop.call_later(_CLOSE_SECONDS, self._transport.abort)
            self.hold_input(held=False)

    def _detach(self) -> None:
        if self._attached:
            self._attached = False
            self.terminal.detach(self.key)
