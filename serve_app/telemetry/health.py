"""Asks every component how it is: a question each, all at once, each with a limit."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from actors.core import names
from actors.core.calls import Component, PoolCalls, Ref, SupervisorCalls
from actors.core.errors.base import CoditectError
from cluster.doctor import checks
from cluster.doctor.checks import Check
from cluster.doctor.walls import lacking
from cluster.paths import machine_file
from cluster.wiring.cloud_run_room import room_left
from serve_app.dependencies import Dependencies
from serve_app.schemas.admin import ComponentHealth, ServerHealth

ASK_SECONDS = 3.0
LEAST_FREE = 0.02
LEAST_FREE_BYTES = 256 << 20
FRESH_SECONDS = 15.0

Question = Callable[[], Awaitable[str | None]]
"""Answers None when all is well, else what is not quite; raises when the component is down."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something that is asked. All else depends on a ``vital`` one.

    ``notice`` is what operators should know of it though all is well.
    """

    name: str
    vital: bool
    ask: Question
    notice: str | None = None


def components(deps: Dependencies) -> list[Part]:
    """Return what a server consists of."""

    def actor(name: Ref[Any]) -> Question:
        async def ask() -> str | None:
            said = await deps.actors.call(name, Component.ping, ASK_SECONDS)
            return "starting" if said.get("ready") is False else None

        return ask

    async def store() -> str | None:
        await deps.ledger.session("s-health")
        return None

    async def gcs() -> str | None:
        # The Supervisor lists the actors again and again, which only the GCS can answer.
        snapshot = await _supervision(deps)
        age = snapshot.get("age_seconds")
        if age is None or age > FRESH_SECONDS:
            return "actors have not been listed for a while"
        return None

    async def runtime() -> str | None:
        pool = names.pool_actor(deps.node_id)
        found = await deps.actors.call(pool, PoolCalls.stats, ASK_SECONDS)
        if (room := await asyncio.to_thread(room_left, deps.settings)) and not any(room.values()):
            return "Cloud Run takes no more containers in any place"
        target, ready = found["warm_containers_target"], found["warm_containers_ready"]
        return f"{ready} of {target} warm containers" if target and not ready else None

    async def disk() -> str | None:
        usage = await asyncio.to_thread(shutil.disk_usage, deps.settings.data_dir)
        reserve = deps.settings.kept_reserve
        if usage.free < reserve:
            return f"{usage.free >> 20} MiB left, {reserve >> 20} reserved: workspaces cannot grow"
        least = max(LEAST_FREE_BYTES, LEAST_FREE * usage.total)
        return f"{usage.free >> 20} MiB left" if usage.free < least else None

    async def serve() -> str | None:
        return None  # whoever asks is being answered by it

    node = deps.node_id
    return [
        Part("store", vital=True, ask=store),
        Part("supervisor", vital=True, ask=actor(names.SUPERVISOR)),
        Part("pool", vital=True, ask=actor(names.pool_actor(node))),
        Part("health_checker", vital=False, ask=actor(names.health_checker_actor(node))),
        Part("journal", vital=True, ask=actor(names.journal_actor(node))),
        Part("archive", vital=False, ask=actor(names.archive_actor(node))),
        *(
            [Part("egress", vital=False, ask=actor(names.egress_actor(node)))]
            if deps.settings.has_egress
            else []
        ),
        Part("ssh", vital=False, ask=actor(names.ssh_actor(node))),
        Part("gcs", vital=False, ask=gcs),
        Part("serve", vital=True, ask=serve),
        Part("runtime", vital=False, ask=runtime, notice=room(deps) or notice(machine(deps))),
        Part("disk", vital=False, ask=disk),
    ]


def room(deps: Dependencies) -> str | None:
    """Say how many containers Cloud Run still takes; None where there is nothing to count."""
    left = room_left(deps.settings)
    places = ", ".join(f"{place} {number}" for place, number in left.items())
    return f"room for {sum(left.values())} containers on Cloud Run ({places})" if left else None


def machine(deps: Dependencies) -> list[Check]:
    """Return what the server found wanting in its machine when it started; nothing if that is not known."""
    try:
        return lacking(checks.load(machine_file(deps.settings.data_dir).read_text()))
    except (OSError, ValueError):
        return []


def notice(found: list[Check]) -> str | None:
    """Name in one line what is wanting."""
    return f"wanting here: {', '.join(check.name for check in found)}" if found else None


async def check(deps: Dependencies) -> ServerHealth:
    """Ask everybody."""
    parts = components(deps)
    found = await asyncio.gather(*(_ask(part) for part in parts))
    states = dict(zip((part.name for part in parts), found, strict=True))
    status = "ok"
    if any(state.status != "ok" for state in found):
        status = "degraded"
    if any(state.vital and state.status == "down" for state in found):
        status = "down"
    return ServerHealth.model_validate({"status": status, "components": states})


async def _ask(part: Part) -> ComponentHealth:
    began = time.perf_counter()
    status, detail = "ok", None
    try:
        async with asyncio.timeout(ASK_SECONDS):
            detail = await part.ask()
            status = "ok" if detail is None else "degraded"
    except TimeoutError:
        status, detail = "down", f"no answer within {ASK_SECONDS:g} s"
    except (CoditectError, OSError) as error:
        status, detail = "down", str(error)
    return ComponentHealth.model_validate(
        {
            "status": status,
            "vital": part.vital,
            "latency_ms": round((time.perf_counter() - began) * 1000, 2),
            "detail": part.notice if detail is None else detail,
        }
    )


async def _supervision(deps: Dependencies) -> Mapping[str, Any]:
    return await deps.actors.call(names.SUPERVISOR, SupervisorCalls.snapshot, ASK_SECONDS)
