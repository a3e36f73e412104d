"""A service of the Cloud Run emulator that is a real sandbox, with CODI in it."""

from __future__ import annotations

import json
from hashlib import sha256

import httpx
import pytest

from cluster.clock import SystemClock
from cluster.dev.cloud_run.emulator import Emulator
from cluster.dev.cloud_run.programs.sandboxes import Sandboxes
from cluster.runtime import processes as identities
from cluster.runtime.registry import Processes
from tests.emulators.cloud_run import PARENT, connected, container, finished, identity, service
from tests.support.waiting import wait_until

pytestmark = pytest.mark.sandbox

SECRET = "known to the server alone"
CONFIG = {
    "secret_digest": sha256(SECRET.encode()).hexdigest(),
    "container_id": "c-1",
    "epoch": 1,
    "workspace": "/workspace",
    "volatile": True,
}


def definition():
    environment = {"CODI_CONFIG": json.dumps(CONFIG), "USER_ID": "u-1"}
    box = container(
        env=[{"name": name, "value": value} for name, value in environment.items()],
        args=["--max-terminals", "3"],
        resources={"limits": {"cpu": "1", "memory": "512Mi"}, "cpu_idle": True},
        startup_probe={
            "http_get": {
                "path": "/health",
                "http_headers": [{"name": "x-codi-secret", "value": SECRET}],
            },
            "period_seconds": 1,
        },
    )
    return service({"containers": [box]})


def states(sandbox):
    init = Processes.of(sandbox.handle).init
    return {stat.state for stat in identities.descendants(init.pid).values()}


async def test_a_service_is_codi_in_a_sandbox_that_stands_still_goes_and_comes_back_empty(tmp_path):
    async with (
        Emulator(Sandboxes(tmp_path, SystemClock())) as emulator,
        connected(emulator) as client,
    ):
        operation = await client.create_service(
            parent=PARENT, service=definition(), service_id="user-1"
        )
        made = await finished(client, operation)
        workload = emulator.resource(made.name).workload
        headers = {
            "x-serverless-authorization": identity(emulator, made.uri)["authorization"],
            "x-codi-secret": SECRET,
            "x-codi-session": "s-1",
            "x-codi-epoch": "1",
        }
        async with httpx.AsyncClient(headers=headers, timeout=30) as http:
            script = "echo kept > /workspace/file; echo $USER_ID $K_SERVICE"
            run = {"argv": ["bash", "-c", script]}
            answer = (await http.post(f"{made.uri}/exec", json=run)).json()
            assert answer["stdout"] == "u-1 user-1\n"
            boot = (await http.get(f"{made.uri}/health")).json()["boot"]
            (former,) = (each.program for each in workload._running)

            async def stands_still():
                return bool(workload._running) and workload._running[0].frozen

            await wait_until(stands_still, pause_seconds=0.005)
            group = Processes.of(former.handle).group
            if group is None or group.version == 1:  # else the kernel freezes it, without a state
                assert states(former) == {"T"}
            await workload.stop_idle()
            listing = {"argv": ["ls", "/workspace"]}
            answer = (await http.post(f"{made.uri}/exec", json=listing)).json()
            assert answer["stdout"] == ""
            assert (await http.get(f"{made.uri}/health")).json()["boot"] != boot
        assert not identities.is_alive(Processes.of(former.handle).init)
        (left,) = (each.program for each in workload._running)
        await Sandboxes(tmp_path, SystemClock()).close()  # as after an emulator that was killed
        assert not identities.is_alive(Processes.of(left.handle).init)
    assert not [path for path in (tmp_path / "workspaces").iterdir() if path.name.startswith("w-")]
