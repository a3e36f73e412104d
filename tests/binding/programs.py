"""Running a program over a store and over the model, and finding where they part."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import fdb.tuple

from cluster.store.engines.interface import Commit, Engine, KeyRange, Mutation, MutationKind
from tests.binding.generator import Generator, Instruction
from tests.binding.model import ModelDatabase
from tests.binding.stack_machine import StackMachine
from tests.binding.store_binding import StoreOperations

_LOADED_A_COMMIT = 500
_AREA = b"area/"
_PROGRAM = b"program"
_WHOLE = KeyRange(b"", b"\xff")


@dataclass
class Tally:
    """The instructions that have been run so far."""

    instructions: int = 0
    errors: dict[int, int] = field(default_factory=dict)


async def compare(engine: Engine, seed: int, instructions: int, tally: Tally) -> None:
    """Run one random program over an empty engine and the model, and leave the engine empty.

    Raises AssertionError at the first item of a stack, or of the data, that differs.
    """
    program = Generator(seed, _AREA).program(instructions)
    await _load(engine, program)
    real = StackMachine(lambda: StoreOperations(engine), _PROGRAM)
    read = await real.program()
    # The program is out of the way before it begins: selectors walk over all that is there.
    await _clear(engine, fdb.tuple.range((_PROGRAM,)))
    await real.execute(read)
    database = ModelDatabase()
    model = StackMachine(database.transaction, _PROGRAM)
    await model.execute(program)
    assert real.executed == model.executed == len(program)
    stored = dict((await engine.get_range(_WHOLE, None, limit=10**6, reverse=False)).pairs)
    expected = database.versions[-1]
    _same_rows(_ordinary(stored), _ordinary(expected), program, seed)
    # Stamps differ, but not the order that they give, nor what stands beside them.
    assert _stamped(stored) == _stamped(expected), f"seed {seed}"
    assert real.errors == model.errors, f"seed {seed}"
    await _clear(engine, None)
    tally.instructions += real.executed
    for code, count in real.errors.items():
        tally.errors[code] = tally.errors.get(code, 0) + count


def _same_rows(
    stored: dict[bytes, bytes], expected: dict[bytes, bytes], program: list[Instruction], seed: int
) -> None:
    for key in sorted(stored.keys() | expected.keys()):
        if stored.get(key) != expected.get(key):
            where = f"seed {seed}, {key!r}"
            if key.startswith(_AREA + b"l"):
                number = fdb.tuple.unpack(key[len(_AREA) + 7 :])[1]
                where += f", pushed by instruction {number}: {program[number]}"
            raise AssertionError(f"{where}: {stored.get(key)!r} is not {expected.get(key)!r}")


def _ordinary(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: value for key, value in rows.items() if not key.startswith(_AREA + b"s")}


def _stamped(rows: dict[bytes, bytes]) -> list[tuple[int, bytes]]:
    return [
        (len(key), value[10:] if key == _AREA + b"s" else value)
        for key, value in sorted(rows.items())
        if key.startswith(_AREA + b"s")
    ]


async def _load(engine: Engine, program: list[Instruction]) -> None:
    rows = [
        Mutation(MutationKind.SET, fdb.tuple.pack((_PROGRAM, number)), fdb.tuple.pack(instruction))
        for number, instruction in enumerate(program)
    ]
    for start in range(0, len(rows), _LOADED_A_COMMIT):
        part = tuple(rows[start : start + _LOADED_A_COMMIT])
        await engine.commit(Commit(0, (), part, secrets.token_bytes(16)))


async def _clear(engine: Engine, span: slice | None) -> None:
    cleared = _WHOLE if span is None else KeyRange(span.start, span.stop)
    tr = StoreOperations(engine)
    tr.clear_range(*cleared)
    await tr.commit()
