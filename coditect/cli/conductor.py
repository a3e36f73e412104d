"""Brings up what runs on Ray, step by step, as a driver that then goes away.

`coditect up` starts it as a process of its own: everything it makes is detached, and the process
that watches the Ray head needs no connection to it. A line of JSON on standard output for each step:
``{"step": …, "state": "begin" | "done" | "failed", …}``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import ray
from pydantic import SecretStr
from ray import serve
from ray.exceptions import RayError
from ray.serve._private import client as serve_client
from ray.serve.config import HTTPOptions

from actors.core import names
from actors.core.calls import PoolCalls, SupervisorCalls
from actors.core.directory import ActorDirectory
from actors.core.errors.base import CoditectError, DeadlineExceeded
from cluster.clock import SystemClock
from cluster.settings import Settings
from cluster.store.layers.accounts.users import UserStore
from cluster.wiring.blueprints import make_supervisor
from cluster.wiring.node import NodeWiring
from serve_app.app import APPLICATION, build
from serve_app.auth.first_admin import ensure_admin
from serve_app.ssh.blueprint import blueprint

logger = logging.getLogger(__name__)

SUPERVISOR_SECONDS = 60.0
SERVE_SECONDS = 90.0
SERVE_TRIES = 5
SERVE_PAUSE_SECONDS = 0.5
FIRST_SLOT_SECONDS = 60.0

# Serve looks once a second whether its replicas run, and has no setting for it.
serve_client.CLIENT_POLLING_INTERVAL_S = 0.1


def main(make_wiring: Callable[[Settings, str], NodeWiring] = NodeWiring) -> None:
    """Read ``{"settings", "node_id", "address", "admin_password"}`` from standard input and conduct.

    ``settings`` hold no secret: they are passed to actors, whose arguments Ray keeps. ``make_wiring`` is for
    benchmarks, whose containers are none.
    """
    _keep_stdout_clean()
    order = json.load(sys.stdin)
    settings = Settings.model_validate(order["settings"])
    password = order["admin_password"]
    ray.init(
        address=order["address"],
        namespace=names.NAMESPACE,
        log_to_driver=False,
        logging_level="error",
    )
    try:
        asyncio.run(_conduct(make_wiring(settings, order["node_id"]), password))
    except (CoditectError, TimeoutError) as error:
        _say(step="up", state="failed", reason=str(error) or type(error).__name__)
        sys.exit(1)
    finally:
        ray.shutdown()


async def _conduct(wiring: NodeWiring, admin_password: str | None) -> None:
    given = SecretStr(admin_password) if admin_password is not None else None
    directory = ActorDirectory(lookup_seconds=20.0)
    # Serve's controller, proxy and replicas start while the actors do: both wait for processes.
    async with _step("actors"):
        await directory.create(
            names.SUPERVISOR, partial(make_supervisor, wiring, blueprint(wiring))
        )
        serving = asyncio.create_task(_serve(wiring))
        await _until(lambda: _ready(directory), "the actors", SUPERVISOR_SECONDS)
    async with _step("administrator") as answer:
        engine = wiring.engine()
        users = UserStore(engine, wiring.settings.tenant)
        for hidden in await users.find_by_prepared_addresses():
            logger.warning(
                "%s has the address of another account: %s", hidden.user_id, hidden.email
            )
        email, password = await ensure_admin(
            users,
            wiring.settings.model_copy(update={"admin_password": given}),
            secrets.token_urlsafe,
            SystemClock(),
        )
        engine.close()
        answer.update(email=email, password=password)
    async with _step("ingress"):
        await serving
    if wiring.settings.pool_size:
        async with _step("warm pool") as slots:
            slots.update(
                await _until(
                    lambda: _slots(directory, wiring), "the first warm slot", FIRST_SLOT_SECONDS
                )
            )
    directory.close()


async def _serve(wiring: NodeWiring) -> None:
    def start() -> None:
        settings = wiring.settings
        serve.start(
            proxy_location="HeadOnly",
            http_options=HTTPOptions(host=settings.host, port=settings.port),
        )
        serve.run(build(wiring), name=APPLICATION, route_prefix="/")

    async def start_patiently() -> None:
        # Serve gives up when a call between its own actors is lost; the same again goes on from there.
        for _ in range(SERVE_TRIES - 1):
            try:
                await asyncio.to_thread(start)
            except (RuntimeError, RayError) as error:
                sys.stderr.write(f"the ingress is started again: {error}\n")
            else:
                return
            await asyncio.sleep(SERVE_PAUSE_SECONDS)
        await asyncio.to_thread(start)

    try:
        async with asyncio.timeout(SERVE_SECONDS):
            await start_patiently()
    except TimeoutError:
        raise DeadlineExceeded("the start of the ingress", SERVE_SECONDS) from None


async def _ready(directory: ActorDirectory) -> dict[str, Any] | None:
    try:
        answer: dict[str, Any] = await directory.call(names.SUPERVISOR, SupervisorCalls.ping, 10)
    except CoditectError:
        return None
    return answer if answer["ready"] else None


async def _slots(directory: ActorDirectory, wiring: NodeWiring) -> dict[str, Any] | None:
    pool = names.pool_actor(wiring.node_id)
    try:
        stats = await directory.call(pool, PoolCalls.stats, 10)
    except CoditectError:
        return None
    ready = {kind: stats[f"warm_{kind}_ready"] for kind in ("actors", "containers")}
    wanted = {kind: stats[f"warm_{kind}_target"] for kind in ("actors", "containers")}
    return ready if all(ready[kind] >= min(1, wanted[kind]) for kind in ready) else None


async def _until(
    probe: Callable[[], Awaitable[dict[str, Any] | None]], what: str, seconds: float
) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while (answer := await probe()) is None:
        if time.monotonic() > deadline:
            raise DeadlineExceeded(what, seconds)
        await asyncio.sleep(0.1)
    return answer


@asynccontextmanager
async def _step(name: str) -> AsyncIterator[dict[str, Any]]:
    _say(step=name, state="begin")
    began = time.monotonic()
    result: dict[str, Any] = {}
    yield result
    _say(step=name, state="done", seconds=time.monotonic() - began, **result)


def _keep_stdout_clean() -> None:
    """Let only ``_say`` reach standard output: libraries print there, too."""
    global _answers  # noqa: PLW0603 - one stream of one process
    _answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


_answers = sys.stdout


def _say(**line: Any) -> None:
    _answers.write(json.dumps(line) + "\n")
    _answers.flush()


if __name__ == "__main__":
    main()
