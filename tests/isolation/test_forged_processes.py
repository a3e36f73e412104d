"""A container that looks like the server in everything that it can choose is not taken for a part of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.bringup import leftovers

pytestmark = pytest.mark.sandbox
ROOT = Path(__file__).parents[2]

# A server with a container of its own, whose program calls itself everything that the server's do, and
# wrote the server's files in its own workspace. It names what of the container runs, what it finds to be its
# own, and what runs when that was ended.
SERVER = """
import asyncio, json, subprocess, sys, time
from pathlib import Path
from cluster.bringup import leftovers
from cluster.layout import Layout
from cluster.clock import SystemClock
from cluster.runtime import processes as identity
from cluster.runtime.registry import Processes
from cluster.runtime.sandbox import SandboxRuntime
from tests.fakes.agent import FakeAgent
from tests.isolation.inside import run, spec

data_dir, defended = Path(sys.argv[1]), sys.argv[2] == "defended"
forgery = '''
mkdir -p run/pids runtime/containers; echo '[{"pid":1}]' > run/processes.json
cat /proc/sys/kernel/random/boot_id /proc/self/stat > run/pids/1; touch server.lock
export CODITECT_SERVER=DIR RAY_gcs_storage_path=DIR/run/gcs PYTHONPATH=DIR RAY_NODE_ID=x
for name in "ray::ServeReplica" "raylet --node_ip=127.0.0.2" "haproxy -f x" "coditect up --data-dir D"; do
  (cd /; echo gcs_server > /proc/self/comm; exec -a "$name" setsid sleep 86404 </dev/null >/dev/null 2>&1) &
done; sleep 0.3; pgrep -c sleep
'''.replace("DIR", str(data_dir))

async def main():
    Layout(data_dir).prepare()
    leftovers.adopt_orphans()
    own = subprocess.Popen(["sleep", "600"], start_new_session=True)
    runtime = SandboxRuntime(data_dir, "n", agent=FakeAgent(), clock=SystemClock())
    handle = await runtime.launch(spec())
    said = await run(handle, forgery)
    processes = Processes.of(handle)
    contained = set(identity.descendants(processes.init.pid)) | {processes.monitor.pid}
    if not defended:
        leftovers._monitors = lambda _: []
        leftovers._is_elsewhere = lambda _: False
    leftovers.record(data_dir)
    found = {process.pid for process in leftovers.find(data_dir)}
    ended = leftovers.end(data_dir, grace_seconds=1)
    print(json.dumps({
        "forged": said.stdout, "contained": len(contained), "taken": len(found & contained),
        "own": own.pid in found, "ended": ended, "living": identity.is_alive(processes.init),
    }), flush=True)
    await runtime.stop(handle, 0)

asyncio.run(main())
"""


def answer(data_dir: Path, how: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", SERVER, str(data_dir), how],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_no_container_is_taken_for_the_server_whatever_it_forges(tmp_path):
    reported = answer(tmp_path, "defended")
    assert reported["contained"] >= 7
    assert (reported["taken"], reported["own"], reported["ended"], reported["living"]) == (
        0,
        True,
        1,
        True,
    )
    assert leftovers.find(tmp_path) == []


def test_without_the_defence_one_would_be_ended(tmp_path):
    reported = answer(tmp_path, "bare")
    assert reported["taken"] >= 7
    assert not reported["living"]
