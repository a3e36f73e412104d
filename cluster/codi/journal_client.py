"""The journal's side of CODI's journal socket (``journal_protocol``)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from actors.core.errors.base import DeadlineExceeded, Unavailable
from actors.core.ports.codi import (
    JournalMessage,
    TerminalExited,
    TerminalMoved,
    TerminalOpened,
    TerminalPrinted,
    TerminalSized,
)
from actors.core.records.containers import ContainerHandle
from actors.core.records.terminals import TerminalSizing
from cluster.codi.answers import COMPONENT
from cluster.codi.journal_protocol import MAX_BATCH, BadBatch, decode_batch
from cluster.codi.terminal_sizing import is_rule

_MAX_MESSAGE = MAX_BATCH + (128 << 10)
_PING_SECONDS = 30.0
_CLOSE_SECONDS = 1.0
_MAX_STATES = 32
_MAX_STATE = 8 << 10


class CodiJournalConnection:
    """Implements ``actors.core.ports.codi.JournalConnection`` over a WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._states_of = 0
        self._states: dict[int, bytes] = {}

    async def receive(self) -> JournalMessage:
        """Return the next message. Raises Unavailable at the connection's end."""
        while True:
            try:
                frame = await self._socket.recv()
            except ConnectionClosed as closed:
                raise Unavailable(COMPONENT, str(closed)) from None
            try:
                message = self._read(frame)
            except (BadBatch, ValueError, KeyError, TypeError) as error:
                raise Unavailable(COMPONENT, f"a frame that is none: {error!r}") from error
            if message is not None:
                return message

    def _read(self, frame: bytes | str) -> JournalMessage | None:
        """Return what a frame says; None for one of a newer CODI, and for a state: the next batch has it."""
        if isinstance(frame, bytes):
            terminal, offset, data, inputs = decode_batch(frame)
            states, self._states = self._states, {}
            within = range(offset + 1, offset + len(data) + 1)
            known = {at: state for at, state in states.items() if at in within}
            same = terminal == self._states_of
            return TerminalPrinted(terminal, offset, data, inputs, known if same else {})
        said = json.loads(frame)
        if said["type"] == "checkpoint":
            state = base64.b64decode(str(said["state"]), validate=True)
            self._keep_state(int(said["id"]), int(said["offset"]), state)
            return None
        read = _READ.get(said["type"])
        return None if read is None else read(int(said["id"]), said)

    def _keep_state(self, terminal: int, offset: int, state: bytes) -> None:
        """Keep a state for the batch behind it. A container's word, as what it prints is: bounded."""
        if terminal != self._states_of:
            self._states_of, self._states = terminal, {}
        if len(state) <= _MAX_STATE and len(self._states) < _MAX_STATES:
            self._states[offset] = state

    async def number(
        self, terminal: int, end: int, inputs: Mapping[str, int], sizing: TerminalSizing
    ) -> None:
        """Send the number at which a terminal's output goes on, and the rule by which it is sized."""
        counts = dict(inputs)
        await self._say(type="numbered", id=terminal, end=end, inputs=counts, sizing=sizing)

    async def keep(self, ends: Sequence[tuple[int, int]]) -> None:
        """Send the offsets up to which the output of these terminals is kept."""
        await self._say(type="kept", ends=list(ends))

    async def close(self) -> None:
        """End it."""
        await self._socket.close()

    async def _say(self, **frame: Any) -> None:
        try:
            await self._socket.send(json.dumps(frame, separators=(",", ":")))
        except ConnectionClosed as closed:
            raise Unavailable(COMPONENT, str(closed)) from None


async def connect_journal(
    handle: ContainerHandle, *, timeout_seconds: float
) -> CodiJournalConnection:
    """Connect to a container. Raises Unavailable, DeadlineExceeded."""
    try:
        socket = await connect(
            f"ws://{handle.address}/journal",
            additional_headers={"x-codi-secret": handle.secret},
            compression=None,
            proxy=None,
            open_timeout=timeout_seconds,
            ping_interval=_PING_SECONDS,
            ping_timeout=_PING_SECONDS,
            close_timeout=_CLOSE_SECONDS,
            max_size=_MAX_MESSAGE,
            max_queue=16,
            process_exception=lambda error: error,
        )
    except TimeoutError:
        raise DeadlineExceeded("the journal's connection", timeout_seconds) from None
    except (OSError, EOFError, InvalidHandshake) as error:
        raise Unavailable(COMPONENT, str(error) or type(error).__name__) from error
    return CodiJournalConnection(socket)


def _opened(terminal: int, said: Mapping[str, Any]) -> TerminalOpened:
    kept = said["kept"]
    return TerminalOpened(
        terminal=terminal,
        name=str(said["name"]),
        cols=int(said["cols"]),
        rows=int(said["rows"]),
        cwd=_text(said["cwd"]),
        kept=None if kept is None else int(kept),
    )


def _sized(terminal: int, said: Mapping[str, Any]) -> TerminalSized:
    rule = said["sizing"]
    if not is_rule(rule):
        raise ValueError("no rule for a size")
    return TerminalSized(terminal, rule)


def _exited(terminal: int, said: Mapping[str, Any]) -> TerminalExited:
    code = said["code"]
    return TerminalExited(terminal, None if code is None else int(code))


_READ: dict[str, Callable[[int, Mapping[str, Any]], JournalMessage]] = {
    "open": _opened,
    "moved": lambda terminal, said: TerminalMoved(terminal, _text(said["cwd"])),
    "sized": _sized,
    "exited": _exited,
}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
