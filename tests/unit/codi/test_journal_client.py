"""What the journal makes of CODI's frames."""

from __future__ import annotations

import json

import pytest

from actors.core.errors.base import Unavailable
from actors.core.ports.codi import TerminalMoved, TerminalPrinted
from cluster.codi.journal_client import CodiJournalConnection
from cluster.codi.journal_protocol import encode_batch


class Frames:
    """A socket on which these frames have come."""

    def __init__(self, *frames: bytes | str) -> None:
        self._frames = list(frames)

    async def recv(self) -> bytes | str:
        return self._frames.pop(0)


def connection(*frames: bytes | str) -> CodiJournalConnection:
    return CodiJournalConnection(Frames(*frames))  # type: ignore[arg-type]


async def test_frames_of_a_newer_codi_are_passed_over_and_bad_ones_end_the_connection():
    unknown = json.dumps({"type": "of the future", "id": 1})
    moved = json.dumps({"type": "moved", "id": 1, "cwd": "/w"})
    assert await connection(unknown, moved).receive() == TerminalMoved(1, "/w")
    batch = encode_batch(1, 10, b"abc", {"c": 5}, {11: b"state"})
    read = await connection(batch).receive()
    assert read == TerminalPrinted(1, 10, b"abc", {"c": 5}, {11: b"state"})
    for bad in ("nothing", b"x", '{"type": "moved", "id": "?", "cwd": "/w"}'):
        with pytest.raises(Unavailable):
            await connection(bad).receive()
