"""Frames between CODI and the journal about a container's terminals. No I/O.

One socket a container carries all its terminals. CODI numbers nothing by itself: it *opens* a
terminal, the journal answers with the offset at which the numbering goes on, and from then on CODI
hands over what was printed and typed, and shows a byte only after the journal has *kept* it. So
whatever dies, nobody has seen a byte that the journal does not have, and no number is used twice.

Text frames are JSON. CODI → journal::

    {"type": "open", "id", "name", "cols", "rows", "cwd", "kept", "program"?}
                      kept: null before it is numbered; program: of a program by name, what is kept of it
    {"type": "moved", "id", "cwd"}                                  the shell's directory
    {"type": "sized", "id", "sizing"}                               by a person: ``codi.terminals.sizing``
    {"type": "exited", "id", "code"}                                behind its last byte
    {"type": "ports", "ports": [{port, address, pid, program, command}]}   what listens now

and binary frames of output, input counts and ``codi.terminals.modes`` snapshots (``encode_batch``), one under
way for each terminal.
Journal → CODI::

    {"type": "numbered", "id", "end", "inputs": {client: count}, "sizing"}
    {"type": "kept", "ends": [[id, end], ...]}

Nothing but the standard library: CODI ships this file into containers.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType

MAX_BATCH = 128 << 10
"""The most output bytes in one frame."""

MAX_INPUTS = 255
MAX_STATES = 32
MAX_STATE = 8 << 10
MAX_FRAME = MAX_BATCH + (320 << 10)
_HEAD = struct.Struct(">IQB")
_INPUT = struct.Struct(">HQ")
_STATE = struct.Struct(">IH")
_HAS_STATES = 1 << 31
"""In the terminal's number: what a CODI that sends none leaves as it was."""


class BadBatch(ValueError):
    """A binary frame that is none."""


def encode_batch(
    terminal: int,
    offset: int,
    data: bytes,
    inputs: Mapping[str, int],
    states: Mapping[int, bytes] = MappingProxyType({}),
) -> bytes:
    """Return the frame of output from ``offset`` on; ``inputs`` has at most ``MAX_INPUTS`` entries.

    They are how much input each client has had accepted when it was printed. ``states`` bring a terminal
    to where its output at these offsets, behind ``offset`` and within ``data``, begins.
    """
    number = terminal | _HAS_STATES if states else terminal
    parts = [_HEAD.pack(number, offset, len(inputs))]
    for client, count in inputs.items():
        name = client.encode()
        parts += (_INPUT.pack(len(name), count), name)
    if states:
        parts.append(bytes([len(states)]))
        for at, state in states.items():
            parts += (_STATE.pack(at - offset, len(state)), state)
    parts.append(data)
    return b"".join(parts)


def decode_batch(frame: bytes) -> tuple[int, int, bytes, dict[str, int], dict[int, bytes]]:
    """Return what ``encode_batch`` was given. Raises BadBatch."""
    try:
        terminal, offset, count = _HEAD.unpack_from(frame)
        position = _HEAD.size
        inputs: dict[str, int] = {}
        for _ in range(count):
            length, accepted = _INPUT.unpack_from(frame, position)
            position += _INPUT.size
            inputs[frame[position : position + length].decode()] = accepted
            position += length
        states: dict[int, bytes] = {}
        if terminal & _HAS_STATES:
            terminal ^= _HAS_STATES
            position = _read_states(frame, position, offset, states)
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise BadBatch(str(error)) from None
    data = frame[position:]
    if len(frame) < position or len(data) > MAX_BATCH:
        raise BadBatch(f"a batch has up to {MAX_BATCH} bytes")
    if not all(offset < at <= offset + len(data) for at in states):
        raise BadBatch("a state of other output")
    return terminal, offset, data, inputs, states


def _read_states(frame: bytes, position: int, offset: int, states: dict[int, bytes]) -> int:
    """Read states into ``states``; return where they end."""
    count = frame[position]
    position += 1
    for _ in range(count):
        place, length = _STATE.unpack_from(frame, position)
        position += _STATE.size
        states[offset + place] = frame[position : position + length]
        position += length
        if length > MAX_STATE or len(states) > MAX_STATES:
            raise BadBatch(f"a batch has up to {MAX_STATES} states of {MAX_STATE} bytes")
    return position
