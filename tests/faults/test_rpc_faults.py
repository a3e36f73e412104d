"""Everything a person does, while Ray loses and delays its own calls.

Ray has a fault injector in its production binaries (``testing_rpc_failure`` and
``testing_asio_delay_us`` in its ``ray_config_def.h``). A call fails before it is sent (``req``), after
it was carried out (``resp``), or is carried out although its caller got a failure
(``in_flight``); the numbers are percentages, ``num_failures`` is for each process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.test_user_flow import *  # noqa: F403 - the same steps, on another server
from tests.support.server_process import ServerProcess

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


def failing(requests: int, responses: int, in_flight: int = 0) -> dict[str, int]:
    return {
        "num_failures": 1000,
        "req_failure_prob": requests,
        "resp_failure_prob": responses,
        "in_flight_failure_prob": in_flight,
    }


ACTORS = "ray::rpc::ActorInfoGcsService.grpc_client"
KEYS = "ray::rpc::InternalKVGcsService.grpc_client"
LOST = {
    # Calls of actors, and their answers: what a broken connection between two workers loses.
    "CoreWorkerService.grpc_client.PushTask": failing(1, 1, 1),
    # Questions to the GCS: what its restart, or a stall of its machine, loses.
    f"{ACTORS}.GetNamedActorInfo": failing(10, 10),
    f"{ACTORS}.GetActorInfo": failing(10, 10),
    f"{ACTORS}.ListNamedActors": failing(10, 10),
    f"{ACTORS}.RegisterActor": failing(10, 10),
    f"{ACTORS}.CreateActor": failing(0, 10),
    f"{KEYS}.InternalKVGet": failing(5, 5),
    f"{KEYS}.InternalKVPut": failing(5, 5),
    "NodeManagerService.grpc_client.ReturnWorkerLease": failing(10, 10),
}
# Microseconds, at least and at most, before a handler runs.
LATE = {
    "CoreWorkerService.grpc_server.PushTask": (0, 5_000),
    "ActorInfoGcsService.grpc_server.GetNamedActorInfo": (10_000, 100_000),
    "ActorInfoGcsService.grpc_server.RegisterActor": (10_000, 100_000),
}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A server whose Ray is unreliable, for all that this module asks of ``server``."""
    # And each of its workers is started by itself, which everywhere else is the exception.
    settings = {"passivate_after": 5, "dashboard": False, "forked_workers": False}
    unreliable = ServerProcess(pool_size=3, **settings)
    unreliable.environment |= {
        "RAY_testing_rpc_failure": json.dumps(LOST),
        "RAY_testing_asio_delay_us": ",".join(f"{k}={a}:{b}" for k, (a, b) in LATE.items()),
    }
    with unreliable as running:
        yield running
