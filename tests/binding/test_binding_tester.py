"""FoundationDB's binding tester over the store: random programs against a model of the manual.

``CODITECT_TEST_BINDING_INSTRUCTIONS`` asks for more instructions than the few of everyday. A million
over the embedded engine takes some minutes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import fdb.tuple
import pytest

from cluster.store.engines.interface import MAX_AGE_SECONDS, Commit, Engine, Mutation, MutationKind
from cluster.store.engines.lmdb.engine import LmdbEngine
from tests.binding.programs import Tally, compare
from tests.binding.stack_machine import StackMachine
from tests.binding.store_binding import StoreOperations
from tests.fakes.engines import ENGINES, double_engine, opened_engine
from tests.fakes.fdb_cluster import Cluster

INSTRUCTIONS = int(os.environ.get("CODITECT_TEST_BINDING_INSTRUCTIONS", "6000"))
FIRST_SEED = int(os.environ.get("CODITECT_TEST_BINDING_SEED", "0"))
A_PROGRAM = 1500


class Clock:
    """Seconds that pass between programs and never within one."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@asynccontextmanager
async def timed(name: str, directory: Path, clock: Clock) -> AsyncIterator[Engine]:
    """Open an engine with that clock, unless it has one of its own."""
    if name == "fdb_cluster":
        async with opened_engine(name, directory) as engine:
            yield engine
        return
    made = double_engine(Cluster(clock))
    if name == "lmdb":
        made = LmdbEngine(directory, map_size=256 << 20, clock=clock)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.timeout(max(120, INSTRUCTIONS // 500))
@pytest.mark.parametrize("name", ENGINES)
async def test_random_programs_end_as_in_the_model(name, tmp_path):
    # On a real cluster a program must end before its transactions are five seconds old.
    length = 400 if name == "fdb_cluster" else A_PROGRAM
    tally = Tally()
    seed = FIRST_SEED
    clock = Clock()
    async with timed(name, tmp_path, clock) as engine:
        while tally.instructions < INSTRUCTIONS:
            await compare(engine, seed, length, tally)
            seed += 1
            clock.seconds += 2 * MAX_AGE_SECONDS
    # What is worth testing did happen: conflicts, refusals for size, cancelled transactions.
    assert {1020, 1025, 2102, 2103} <= tally.errors.keys()


async def put_program(engine: Engine, prefix: bytes, *program: tuple) -> None:
    rows = tuple(
        Mutation(MutationKind.SET, fdb.tuple.pack((prefix, number)), fdb.tuple.pack(instruction))
        for number, instruction in enumerate(program)
    )
    await engine.commit(Commit(0, (), rows, b"load" + prefix))


@pytest.fixture(params=ENGINES)
async def engine(request, tmp_path):
    async with opened_engine(request.param, tmp_path) as made:
        yield made


async def test_machines_start_others_and_wait_for_them(engine):
    """The second clears what the first waits for; both work on one database."""
    await put_program(
        engine,
        b"first",
        ("PUSH", b"there"),
        ("PUSH", b"flag"),
        ("SET_DATABASE",),
        ("PUSH", b"second"),
        ("START_THREAD",),
        ("PUSH", b"flag"),
        ("WAIT_EMPTY",),
        ("PUSH", b"done"),
        ("GET_DATABASE",),
    )
    await put_program(
        engine,
        b"second",
        ("PUSH", b"yes"),
        ("PUSH", b"done"),
        ("SET",),
        ("PUSH", b"flag"),
        ("CLEAR",),
        ("COMMIT",),
    )
    machine = StackMachine(lambda: StoreOperations(engine), b"first")
    async with asyncio.timeout(60):
        await machine.run()
    assert [item.value for item in machine.stack] == [
        b"RESULT_NOT_PRESENT",
        b"WAITED_FOR_EMPTY",
        b"yes",
    ]
    assert [item.number for item in machine.stack] == [2, 6, 8]


async def test_packing_with_a_versionstamp_reports_where_it_goes(engine):
    hole = fdb.tuple.Versionstamp(user_version=7)
    await put_program(
        engine,
        b"p",
        ("PUSH", 1),
        ("PUSH", 1),
        ("PUSH", b"pre"),
        ("TUPLE_PACK_WITH_VERSIONSTAMP",),
        ("PUSH", b"value"),
    )
    machine = StackMachine(lambda: StoreOperations(engine), b"p")
    await machine.run()
    assert [item.value for item in machine.stack] == [b"ERROR: NONE", b"value"]
    for instruction in [
        ("PUSH", hole),
        ("PUSH", "name"),
        ("PUSH", 2),
        ("PUSH", b"pre"),
        ("TUPLE_PACK_WITH_VERSIONSTAMP",),
    ]:
        await machine.step(instruction)
    assert machine.stack[-2].value == b"OK"
    key = machine.stack[-1].value
    version = await engine.commit(
        Commit(0, (), (Mutation(MutationKind.SET_VERSIONSTAMPED_KEY, key, b"v"),), b"stamp")
    )
    [stored] = [
        key
        for key, _ in await StoreOperations(engine).get_range(
            b"pre", b"prf", 0, reverse=False, snapshot=True
        )
    ]
    name, stamp = fdb.tuple.unpack(stored, len(b"pre"))
    assert name == "name"
    assert stamp.tr_version[:8] == version.to_bytes(8, "big")
    assert stamp.user_version == 7
