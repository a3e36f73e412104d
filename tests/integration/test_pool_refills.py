"""The pool on a real server: a claim takes a warm slot, and another one is made."""

from __future__ import annotations

import pytest

from tests.support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


async def test_a_claim_leaves_one_warm_slot_fewer_and_the_pool_refills(new_person, admin):
    async def pool() -> dict:
        [stats] = (await admin.overview())["pools"].values()
        return stats

    def full(stats: dict) -> bool:
        return all(
            stats[f"warm_{kind}_ready"] >= stats[f"warm_{kind}_target"]
            for kind in ("actors", "containers")
        )

    before = await wait_until(pool, full, timeout_seconds=90)
    await new_person()
    after = await wait_until(
        pool, lambda s: s["claims_total"] > before["claims_total"], timeout_seconds=30
    )
    assert after["warm_containers_ready"] < before["warm_containers_ready"] or full(after)
    await wait_until(pool, full, timeout_seconds=90)
