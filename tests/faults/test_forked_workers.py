"""Very many workers, forked from one parent: as distinct as if each had been started."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.server_process import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

ACTORS = 80


def test_eighty_actors_draw_different_ids_and_none_outlives_the_raylet(tmp_path):
    command = [sys.executable, "-m", "tests.support.forked_actors", str(tmp_path), str(ACTORS)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=380, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    said = report["said"]
    assert len({each["pid"] for each in said}) == ACTORS
    assert len({each["parent"] for each in said}) == 1, (tmp_path / "logs/workers.log").read_text()
    drawn = [value for each in said for value in each["drawn"]]
    assert len(set(drawn)) == len(drawn) == 5 * ACTORS
    assert report["left"] == []
