"""Looks at Cloud Run: are there credentials, does its API answer, how much room has each place.

Looked at in a process of its own, which takes Google's libraries and their threads with it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.connection import Connection

from actors.core.errors.base import CoditectError
from cluster.cloud_run_options import parse_places
from cluster.doctor import checks
from cluster.doctor.checks import Check
from cluster.runtime.cloud_run.errors import CallFailed
from cluster.runtime.cloud_run.operations import TRANSIENT
from cluster.settings import Settings

LIMIT_SECONDS = 30.0
CALL_SECONDS = 20.0

Found = dict[str, tuple[int | str, bool]]
"""By place: how many services it has, or why that is not known, and whether it may be a moment later."""


def look(settings: Settings, limit_seconds: float = LIMIT_SECONDS) -> list[Check]:
    """Return a check for each place. Takes seconds."""
    places = [*map(str, parse_places(settings.cloud_run_places))]
    if not places:
        return []
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_look, args=(settings, sending), daemon=True)
    child.start()
    sending.close()
    found: Found = {}
    reason = f"no answer within {limit_seconds:g} s"
    try:
        if receiving.poll(limit_seconds):
            found = receiving.recv()
    except EOFError:
        reason = "Google's library ended its process"
    finally:
        child.kill()
        child.join()
        receiving.close()
    looked = {place: found.get(place, (reason, True)) for place in places}
    return [
        checks.cloud_run(place, used, settings.cloud_run_services, may_pass=may_pass)
        for place, (used, may_pass) in looked.items()
    ]


def _look(settings: Settings, sending: Connection) -> None:
    sending.send(asyncio.run(_ask(settings)))


async def _ask(settings: Settings) -> Found:
    from cluster.runtime.cloud_run.client import CloudRunApi  # noqa: PLC0415 - only in this process

    api = CloudRunApi(settings.cloud_run_shape, settings.cloud_run_endpoint)
    found: Found = {}
    try:
        for place in parse_places(settings.cloud_run_places):
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    found[str(place)] = len(await api.list(place)), False
            except TimeoutError:
                found[str(place)] = f"no answer within {CALL_SECONDS:g} s", True
            except CallFailed as error:
                found[str(place)] = str(error), error.outcome in TRANSIENT
            except CoditectError as error:
                found[str(place)] = str(error), False
    finally:
        await api.close()
    return found
