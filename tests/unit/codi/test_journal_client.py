"""What the journal makes of CODI's frames."""

from __future__ import annotations

import base64
import json

import pytest

from actors.core.errors.base import Unavailable
from actors.core.ports.codi import TerminalMoved
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


def checkpoint(terminal: int, offset: int, state: bytes = b"state") -> str:
    shown = base64.b64encode(state).decode()
    return json.dumps({"type": "checkpoint", "id": terminal, "offset": offset, "state": shown})


async def test_a_batch_brings_the_states_that_its_output_leads_to():
    known = [checkpoint(1, at) for at in (10, 11, 13, 14)]
    batches = connection(
        *known, encode_batch(1, 10, b"abc", {"c": 5}), encode_batch(1, 13, b"d", {})
    )
    batch = await batches.receive()
    assert (batch.offset, batch.data, batch.inputs) == (10, b"abc", {"c": 5})
    assert batch.states == {11: b"state", 13: b"state"}
    assert (await batches.receive()).states == {}


async def test_only_states_right_in_front_of_their_batch_are_kept():
    others = [checkpoint(number, 1) for number in range(1, 100)]
    batches = connection(*others, encode_batch(1, 0, b"a", {}), encode_batch(99, 0, b"a", {}))
    assert (await batches.receive()).states == {}
    assert (await batches.receive()).states == {}
    mixed = connection(checkpoint(2, 1), checkpoint(1, 2), encode_batch(1, 0, b"ab", {}))
    assert list((await mixed.receive()).states) == [2]


async def test_states_are_bounded_in_number_and_size():
    many = [checkpoint(1, at) for at in range(1, 50)]
    batches = connection(*many, encode_batch(1, 0, b"x" * 60, {}))
    assert len((await batches.receive()).states) == 32
    large = [checkpoint(1, 1, b"x" * (9 << 10)), checkpoint(1, 2, b"x" * (8 << 10))]
    batches = connection(*large, encode_batch(1, 0, b"xx", {}))
    assert list((await batches.receive()).states) == [2]


async def test_frames_of_a_newer_codi_are_passed_over_and_bad_ones_end_the_connection():
    unknown = json.dumps({"type": "of the future", "id": 1})
    moved = json.dumps({"type": "moved", "id": 1, "cwd": "/w"})
    assert await connection(unknown, moved).receive() == TerminalMoved(1, "/w")
    for bad in ("nothing", b"x", '{"type": "checkpoint", "id": 1, "offset": 1, "state": "?"}'):
        with pytest.raises(Unavailable):
            await connection(bad).receive()
