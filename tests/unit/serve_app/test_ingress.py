"""A replica's parts begin and end together, and its metrics reach the Supervisor."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from actors.core.records.accounts import Role
from serve_app import ingress as ingress_module
from serve_app.auth.tokens import Login
from serve_app.ingress import running
from serve_app.telemetry.metrics import IngressMetrics
from tests.support.waiting import wait_until


async def test_metrics_are_pushed_again_after_the_supervisor_was_away(rig, monkeypatch):
    monkeypatch.setattr(ingress_module, "PUSH_SECONDS", 0.01)
    pushed: list[str] = []
    call = rig.deps.actors.call

    async def noted(name, called, *rest, **named):
        if called.__name__ != "push_metrics":
            return await call(name, called, *rest, **named)
        pushed.append(rest[1])
        if len(pushed) == 1:
            raise ingress_module.CoditectError("away")
        return None

    monkeypatch.setattr(rig.deps.actors, "call", noted)
    before = asyncio.all_tasks()
    async with running(rig.deps, IngressMetrics()):
        await wait_until(lambda: asyncio.sleep(0, len(pushed) >= 2), pause_seconds=0.01)
    assert set(pushed) == {rig.deps.replica_id}
    assert asyncio.all_tasks() == before, "no task outlives the replica"


async def test_replicas_sign_with_one_key(rig):
    async with (
        running(rig.deps, IngressMetrics()) as first,
        running(rig.deps, IngressMetrics()) as second,
    ):
        token = first.signer.access_token(Login("u", "f"), Role.USER, now=1.0, ttl=60.0)
        assert second.signer.read_access_token(token, 2.0).login == Login("u", "f")


async def test_secrets_are_sealed_anew_each_hour_and_sooner_after_a_failure():
    ended, slept = RuntimeError("enough"), []
    found = [(3, 0), ingress_module.CoditectError("away"), (1, 0), (0, 0)]

    async def reseal() -> tuple[int, int]:
        outcome = found.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if not found:
            raise ended

    deps = SimpleNamespace(
        environments=SimpleNamespace(reseal=reseal), clock=SimpleNamespace(sleep=sleep)
    )
    with pytest.raises(RuntimeError, match="enough"):
        await ingress_module._seal_anew(deps)
    assert slept == [3600.0, 60.0, 3600.0, 3600.0]
