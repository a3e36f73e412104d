"""Frames between CODI and the journal about a container's terminals. No I/O.

One socket a container carries all its terminals. CODI numbers nothing by itself: it *opens* a
terminal, the journal answers with the offset at which the numbering goes on, and from then on CODI
hands over what was printed and typed, and shows a byte only after the journal has *kept* it. So
whatever dies, nobody has seen a byte that the journal does not have, and no number is used twice.

Text frames are JSON. CODI → journal::

    {"type": "open", "id", "name", "cols", "rows", "cwd", "kept"}   kept: null before it is numbered
    {"type": "moved", "id", "cwd"}                                  the shell's directory
    {"type": "sized", "id", "sizing"}                               by a person: ``terminal_sizing``
    {"type": "exited", "id", "code"}                                behind its last byte
    {"type": "checkpoint", "id", "offset", "state"}                 right before the batch that has it:
                                                                    a ``terminal_modes`` snapshot, base64

and binary frames of output and input counts (``encode_batch``), one under way for each terminal.
Journal → CODI::

    {"type": "numbered", "id", "end", "inputs": {client: count}, "sizing"}
    {"type": "kept", "ends": [[id, end], ...]}

Nothing but the standard library: CODI ships this file into containers.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

MAX_BATCH = 128 << 10
"""The most output bytes in one frame."""

MAX_INPUTS = 255
_HEAD = struct.Struct(">IQB")
_INPUT = struct.Struct(">HQ")


class BadBatch(ValueError):
    """A binary frame that is none."""


def encode_batch(terminal: int, offset: int, data: bytes, inputs: Mapping[str, int]) -> bytes:
    """Return the frame of output from ``offset`` on; ``inputs`` has at most ``MAX_INPUTS`` entries.

    They are how much input each client has had accepted when it was printed.
    """
    parts = [_HEAD.pack(terminal, offset, len(inputs))]
    for client, count in inputs.items():
        name = client.encode()
        parts += (_INPUT.pack(len(name), count), name)
    parts.append(data)
    return b"".join(parts)


def decode_batch(frame: bytes) -> tuple[int, int, bytes, dict[str, int]]:
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
    except (struct.error, UnicodeDecodeError) as error:
        raise BadBatch(str(error)) from None
    if len(frame) < position or len(frame) - position > MAX_BATCH:
        raise BadBatch(f"a batch has up to {MAX_BATCH} bytes")
    return terminal, offset, frame[position:], inputs
