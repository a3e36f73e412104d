"""Many actors on a Ray head of their own: what their processes draw at random, and what a dead raylet leaves.

``python -m tests.support.forked_actors DIRECTORY COUNT`` prints one line of JSON. It is a process of its own,
as it sets the environment, and as its job has to be the head's first.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import uuid
from pathlib import Path

import psutil

from cluster.bringup import leftovers
from cluster.bringup.environment import environment
from cluster.bringup.head import RayHead, free_ports
from cluster.layout import Layout
from cluster.settings import Settings
from tests.support.server_process import ROOT

ACTORS_SECONDS = 240.0
END_SECONDS = 60.0


class Drawing:
    """An actor that does nothing but to draw."""

    def draw(self) -> dict[str, object]:
        """Return ids that this process made up, and whose process it is."""
        import ray  # noqa: PLC0415 - in a worker

        made = (ray.UniqueID.from_random(), ray.ActorClassID.from_random(), ray.put(0))
        drawn = [each.hex() for each in made] + [uuid.uuid4().hex, random.random().hex()]
        return {"drawn": drawn, "pid": os.getpid(), "parent": os.getppid()}


def main(directory: str, count: str) -> None:
    """Start the head and the actors, kill the raylet, and say what was seen."""
    settings = Settings(data_dir=Path(directory), dashboard=False)
    layout = Layout(settings.data_dir)
    layout.prepare()
    layout.new_token()
    layout.prepare_ray_dir()
    leftovers.adopt_orphans()
    ports = free_ports(settings.ray_address)
    os.environ.update(environment(settings, layout, ports, packages=ROOT, open_files=20_000))
    head = RayHead(settings, layout, ports, [__name__])
    head.start()
    try:
        said, took = draw(head, int(count))
        raylet = head._node.all_processes["raylet"][0].process
        raylet.kill()
        raylet.wait()  # as the server would: to its workers a zombie lives
        left = living(said, END_SECONDS)
    finally:
        head.stop()
        leftovers.end(settings.data_dir, grace_seconds=0.0)
    sys.stdout.write(json.dumps({"said": said, "left": left, "seconds": took}) + "\n")


def draw(head: RayHead, count: int) -> tuple[list[dict], float]:
    import ray  # noqa: PLC0415 - after the environment is set

    ray.init(address=head.address, log_to_driver=False, logging_level="error")
    began = time.monotonic()
    options = {"num_cpus": 0, "lifetime": "detached", "namespace": "n"}
    made = [ray.remote(Drawing).options(name=f"a{n}", **options).remote() for n in range(count)]
    said = ray.get([actor.draw.remote() for actor in made], timeout=ACTORS_SECONDS)
    took = time.monotonic() - began
    ray.shutdown()
    return said, took


def living(said: list[dict], seconds: float) -> list[int]:
    """Wait until the actors' processes have ended; return those that have not in time."""
    pids = {each["pid"] for each in said}
    until = time.monotonic() + seconds
    while left := [pid for pid in pids if runs(pid)]:
        if time.monotonic() > until:
            break
        time.sleep(0.2)
    return left


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
