"""The journal's side of CODI's journal socket (``journal_protocol``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from actors.core.errors.base import DeadlineExceeded, Unavailable
from actors.core.ports.codi import (
    JournalMessage,
    PortsChanged,
    TerminalExited,
    TerminalMoved,
    TerminalOpened,
    TerminalPrinted,
    TerminalSized,
)
from actors.core.records.containers import ContainerHandle
from actors.core.records.ports import Listening
from actors.core.records.terminals import TerminalSizing
from cluster.codi.answers import COMPONENT
from cluster.codi.journal_protocol import MAX_FRAME, BadBatch, decode_batch
from cluster.codi.sockets import CodiConnect, CodiSocket, secured
from cluster.codi.terminals.frames import encoded
from cluster.codi.terminals.sizing import is_rule
from cluster.container_address import parse
from cluster.identity_tokens import access

_PING_SECONDS = 30.0
_CLOSE_SECONDS = 1.0


class CodiJournalConnection:
    """Implements ``actors.core.ports.codi.JournalConnection`` over a WebSocket."""

    def __init__(self, socket: CodiSocket) -> None:
        self._socket = socket

    async def receive(self) -> JournalMessage:
        """Return the next message. Raises Unavailable at the connection's end."""
        while True:
            try:
                frame = await self._socket.recv()
            except ConnectionClosed as closed:
                raise Unavailable(COMPONENT, str(closed)) from None
            try:
                message = _message(frame)
            except (BadBatch, ValueError, KeyError, TypeError) as error:
                raise Unavailable(COMPONENT, f"a frame that is none: {error!r}") from error
            if message is not None:
                return message

    async def number(
        self, terminal: int, end: int, inputs: Mapping[str, int], sizing: TerminalSizing
    ) -> None:
        """Send the number at which a terminal's output goes on, and the rule by which it is sized."""
        counts = dict(inputs)
        await self._say(type="numbered", id=terminal, end=end, inputs=counts, sizing=sizing)

    def keep(self, ends: Sequence[tuple[int, int]]) -> bool:
        """Send the offsets up to which the output of these terminals is kept; false: CODI does not listen."""
        return self._socket.send_now(encoded({"type": "kept", "ends": ends}))

    async def close(self) -> None:
        """End it."""
        await self._socket.close()

    async def _say(self, **frame: Any) -> None:
        try:
            await self._socket.send(encoded(frame))
        except ConnectionClosed as closed:
            raise Unavailable(COMPONENT, str(closed)) from None


async def connect_journal(
    handle: ContainerHandle, *, timeout_seconds: float
) -> CodiJournalConnection:
    """Connect to a container. Raises Unavailable, DeadlineExceeded."""
    to = parse(handle.address)
    fields = {"x-codi-secret": handle.secret, **await access(to)}
    try:
        socket = await CodiConnect(
            f"{to.websocket}/journal",
            create_connection=CodiSocket,
            additional_headers=fields,
            **secured(to),
            compression=None,
            proxy=None,
            open_timeout=timeout_seconds,
            ping_interval=_PING_SECONDS,
            ping_timeout=_PING_SECONDS,
            close_timeout=_CLOSE_SECONDS,
            max_size=MAX_FRAME,
            max_queue=16,
            process_exception=lambda error: error,
        )
    except TimeoutError:
        raise DeadlineExceeded("the journal's connection", timeout_seconds) from None
    except (OSError, EOFError, InvalidHandshake) as error:
        raise Unavailable(COMPONENT, str(error) or type(error).__name__) from error
    return CodiJournalConnection(cast("CodiSocket", socket))


def _message(frame: bytes | str) -> JournalMessage | None:
    """Return what a frame says; None for one of a newer CODI."""
    if isinstance(frame, bytes):
        return TerminalPrinted(*decode_batch(frame))
    said = json.loads(frame)
    if said["type"] == "ports":
        return PortsChanged(Listening.all_of(said["ports"]))
    read = _READ.get(said["type"])
    return None if read is None else read(int(said["id"]), said)


def _opened(terminal: int, said: Mapping[str, Any]) -> TerminalOpened:
    kept = said["kept"]
    return TerminalOpened(
        terminal=terminal,
        name=str(said["name"]),
        cols=int(said["cols"]),
        rows=int(said["rows"]),
        cwd=_text(said["cwd"]),
        kept=None if kept is None else int(kept),
        program=_text(said.get("program")),
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
