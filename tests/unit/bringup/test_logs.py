"""Removal of old logs."""

from __future__ import annotations

import os
from pathlib import Path

from cluster.bringup import logs
from cluster.bringup.logs import KEEP_BYTES, KEEP_SECONDS, LogFile, superfluous

NOW = 10_000_000.0


def left(name: str, size: int = 1, age: float = 0.0, *, living: bool = False) -> LogFile:
    return LogFile(Path(name), size, NOW - age, living)


def test_the_oldest_of_what_is_too_much_goes():
    half = KEEP_BYTES // 2
    files = [left("oldest", half, 30), left("newest", half, 10), left("older", half, 20)]
    assert superfluous(files, NOW) == [Path("oldest")]


def test_what_is_old_goes_though_there_is_room():
    files = [left("old", age=KEEP_SECONDS + 1), left("new", age=KEEP_SECONDS - 1)]
    assert superfluous(files, NOW) == [Path("old")]


def test_what_is_being_written_stays():
    files = [left("a", 2 * KEEP_BYTES, 2 * KEEP_SECONDS, living=True), left("b", KEEP_BYTES)]
    assert superfluous(files, NOW) == []


def test_the_files_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    gone = 2**22 + 1  # beyond every pid (proc(5))
    old = NOW - KEEP_SECONDS - 10
    names = {
        f"worker-ab-01000000-{os.getpid()}.err": True,
        f"worker-ab-01000000-{gone}.out": False,
        f"python-core-worker-ab_{gone}.log.2": False,
        f"serve/controller_{gone}.log": False,
        "raylet.out": False,
    }
    (tmp_path / "serve").mkdir()
    for name in names:
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (old, old))
    fresh = tmp_path / "gcs_server.out"
    fresh.write_text("x")
    os.utime(fresh, (NOW, NOW))
    logs.prune(tmp_path, NOW)
    assert {name: (tmp_path / name).exists() for name in names} == names
    assert fresh.exists()
