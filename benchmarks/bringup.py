"""Measure the start of a server, with everything installed and from a fresh clone."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Report
from tests.support.server_process import ROOT, ServerProcess, free_port

STARTS = 3
MAKE_SECONDS = 600.0


def main() -> None:
    """Time `coditect up` and `make run`."""
    report = Report("bringup")
    times = []
    for _ in range(STARTS):
        with ServerProcess(pool_size=4) as server:
            times.append(server.started_seconds)
    report.add(
        "coditect up to ready", sorted(times)[len(times) // 2], "s", 25, note=f"median of {STARTS}"
    )
    report.add("make run, fresh clone to ready", _make_run(), "s", note="packages from a registry")
    report.finish()


def _make_run() -> float:
    with tempfile.TemporaryDirectory(prefix="coditect-clone-") as directory:
        clone = Path(directory) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        environment = {**os.environ, "CODITECT_PORT": str(free_port())}
        began = time.monotonic()
        with subprocess.Popen(
            ["make", "run"],
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        ) as process:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("ready"):
                    break
                if time.monotonic() - began > MAKE_SECONDS:
                    break
            elapsed = time.monotonic() - began
            os.killpg(process.pid, signal.SIGTERM)
            process.stdout.read()
        if not said[-1].startswith("ready"):
            raise AssertionError("".join(said[-20:]))
        return elapsed


if __name__ == "__main__":
    main()
