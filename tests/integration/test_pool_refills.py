"""The pool on a real server: a claim takes a warm slot, and another one is made."""

from __future__ import annotations

import pytest

from tests.support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


async def test_a_claim_takes_a_warm_container_and_the_pool_makes_another(new_person, admin, server):
    async def pool() -> dict:
        [stats] = (await admin.overview())["pools"].values()
        return stats

    def full(stats: dict) -> bool:
        return all(
            stats[f"warm_{kind}_ready"] >= stats[f"warm_{kind}_target"]
            for kind in ("actors", "containers")
        )

    before = await wait_until(pool, full, timeout_seconds=90)
    running = set(server.containers())
    person = await new_person()
    details = await person.client.session(person.session_id)
    assert details.container_id in running, "it was started for the claim"
    await wait_until(pool, lambda s: s["pool_hits_total"] > before["pool_hits_total"])
    after = await wait_until(pool, full, timeout_seconds=90)
    assert after["warm_containers_ready"] == before["warm_containers_ready"]
    assert set(server.containers()) - running, "a new one has taken its place"
