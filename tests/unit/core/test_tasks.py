"""Tasks with an owner: what is refused has never begun, and what fails is counted."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from actors.core.tasks import Tasks


async def forever() -> None:
    await asyncio.Event().wait()


async def broken() -> None:
    raise ValueError("broken")


@pytest.fixture
async def tasks():
    made = Tasks(limit=1)
    yield made
    await made.close()
    assert not len(made)


async def test_what_does_not_fit_is_refused_and_never_begins(tasks):
    assert tasks.offer("first", forever()) is not None
    second = forever()
    assert tasks.offer("second", second) is None
    assert inspect.getcoroutinestate(second) == inspect.CORO_CLOSED
    with pytest.raises(RuntimeError):
        tasks.spawn("third", forever())


async def test_a_closed_group_takes_nothing(tasks):
    running = tasks.spawn("first", forever())
    await tasks.close()
    assert running.cancelled()
    assert tasks.offer("second", forever()) is None


async def test_an_error_counts_unless_somebody_waits_for_it(tasks):
    awaited = tasks.offer("awaited", broken(), awaited=True)
    with pytest.raises(ValueError, match="broken"):
        await awaited
    assert tasks.failures == 0
    await asyncio.wait([tasks.spawn("alone", broken())])
    assert tasks.failures == 1
