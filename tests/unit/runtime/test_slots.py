"""Turns to start a container, shared by processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack

import pytest

from actors.core.errors.base import DeadlineExceeded
from cluster.clock import SystemClock
from cluster.runtime.launching.slots import HEAD_PAUSE, LINE_PAUSE, LaunchSlots
from tests.fakes.pool_fakes import ManualClock, settle

HOLDER = """
import asyncio, sys
from pathlib import Path
from cluster.clock import SystemClock
from cluster.runtime.launching.slots import LaunchSlots

async def main():
    async with LaunchSlots(Path(sys.argv[1]), 1, SystemClock()).turn(5):
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_so_many_hold_a_turn_at_once_and_the_next_waits_for_one_of_them(tmp_path):
    clock = ManualClock()
    turns = LaunchSlots(tmp_path / "turns", 2, clock, lambda: 0.5)
    running, most, gate = 0, 0, asyncio.Event()

    async def work():
        nonlocal running, most
        async with turns.turn(1000):
            running += 1
            most = max(most, running)
            await gate.wait()
            running -= 1

    working = [asyncio.create_task(work()) for _ in range(5)]
    await settle()
    assert running == 2
    gate.set()
    for _ in range(20):
        clock.advance(1.0)
        await settle()
    await asyncio.gather(*working)
    assert most == 2


async def test_whoever_waits_too_long_is_reported_and_takes_none(tmp_path):
    clock = ManualClock()
    turns = LaunchSlots(tmp_path, 1, clock, lambda: 0.5)
    async with turns.turn(1):
        waiting = asyncio.create_task(turns.turn(10).__aenter__())
        for _ in range(200):
            await settle()
            clock.advance(0.2)
        with pytest.raises(DeadlineExceeded, match="turn to start a container"):
            await waiting
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(turns.turn(0))


class Counting:
    """A clock whose sleeps are over at once, and counted."""

    def __init__(self) -> None:
        self.time, self.sleeps = 0.0, 0

    def now(self) -> float:
        return self.time

    monotonic = now

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.sleeps += 1
        await asyncio.sleep(0)


@pytest.mark.parametrize(("at_the_head", "pause"), [(True, HEAD_PAUSE), (False, LINE_PAUSE / 2)])
async def test_who_waits_for_long_asks_no_more_often_than_at_first(tmp_path, at_the_head, pause):
    """A hundred that wait must leave the processors to those who start."""
    patient, counting = ManualClock(), Counting()
    async with LaunchSlots(tmp_path, 1, patient).turn(1):
        if not at_the_head:
            first = asyncio.create_task(LaunchSlots(tmp_path, 1, patient).turn(1000).__aenter__())
            await settle()
        with pytest.raises(DeadlineExceeded):
            await LaunchSlots(tmp_path, 1, counting, lambda: 0.0).turn(60).__aenter__()
        if not at_the_head:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
    assert counting.sleeps <= 60 / pause + 1
    async with LaunchSlots(tmp_path, 1, patient).turn(0):
        pass  # whoever gave up holds nothing


async def test_a_process_that_dies_gives_its_turn_back(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert (await asyncio.to_thread(holder.stdout.readline)).strip() == "held"
        turns = LaunchSlots(tmp_path, 1, SystemClock())
        with pytest.raises(DeadlineExceeded):
            async with turns.turn(0):
                pass
    finally:
        holder.kill()
        holder.wait()
    async with turns.turn(5):
        pass
