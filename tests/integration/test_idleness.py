"""Sessions that hibernate by themselves, on a whole server with a short idle time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from coditect import AsyncClient
from tests.support import processes
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def drowsy() -> Iterator[ServerProcess]:
    with ServerProcess(
        pool_size=1, dashboard=False, hibernate_after=6, passivate_after=2
    ) as running:
        yield running


async def test_an_idle_session_sleeps_under_an_open_terminal_and_wakes_by_typing(drowsy):
    async with AsyncClient(drowsy.url, timeout_seconds=60) as client:
        session_id = (await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)).session_id
        await client.write_file(session_id, "kept", b"as it was")
        async with await client.terminal(session_id, "main") as terminal:
            await terminal.send("echo be''fore\r")
            await terminal.read_until(b"before\r\n")

            async def details():
                return await client.session(session_id)

            # An open terminal alone is no sign of life; what it printed before is over.
            quiet = await wait_until(
                details, lambda s: s.status != "ready" or (s.idle and not s.idle.awake), 60
            )
            assert quiet.idle is None or quiet.idle.sleeps_at is not None
            await wait_until(details, lambda s: s.status == "hibernated")

            await terminal.send("cat kept; echo; echo af''ter\r")
            await terminal.read_until(b"as it was\r\nafter\r\n", 60)
        await wait_until(details, lambda s: s.status == "ready")


async def test_a_veto_outlasts_the_idle_time_and_a_passive_session_sleeps_after_it(drowsy):
    async with AsyncClient(drowsy.url, timeout_seconds=60) as client:
        session_id = (await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)).session_id

        async def details():
            return await client.session(session_id)

        await wait_until(details, lambda s: s.status == "ready")
        idle = await client.keep_awake(session_id, 600)
        # Everything but the veto asks for sleep: that is published, and it is past the idle time.
        reported = await wait_until(details, lambda s: s.idle and s.idle.sleeps_at)
        assert reported.idle.sleeps_at == idle.keep_awake_until
        assert reported.status == "ready"
        container = reported.container_id
        assert container in drowsy.containers()

        await client.keep_awake(session_id, 0)
        slept = await wait_until(details, lambda s: s.status == "hibernated", 90)
        assert slept.idle is None
        again = await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        assert again.session_id == session_id
        assert await client.read_file(session_id, "kept") == b"as it was"


async def test_a_killed_health_checker_costs_no_event_and_detaches_nobody(drowsy):
    async with AsyncClient(drowsy.url, timeout_seconds=60) as client:
        session_id = (await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)).session_id
        await client.keep_awake(session_id, 600)
        events: list[dict] = []

        async def follow() -> None:
            async for event in client.events(session_id):
                events.append(event)  # noqa: PERF401 each as it comes

        async def details():
            return await client.session(session_id)

        async def attached() -> bool:
            return "clients" in (await details()).idle.signals

        async def reported() -> bool:
            lines = (await client.metrics()).splitlines()
            known = [each for each in lines if each.startswith("coditect_health_attached_sockets{")]
            return known != [] and all(float(each.split()[-1]) == 1 for each in known)

        async def heard() -> list[str]:
            return [each["data"]["path"] for each in events if each["type"] == "saved"]

        following = asyncio.create_task(follow())
        try:
            await wait_until(details, lambda s: s.status == "ready" and s.idle)
            await wait_until(reported)
            await client.write_file(session_id, "before", b"1")
            await wait_until(heard, lambda paths: paths == ["before"])
            processes.kill(drowsy, "HealthChecker")
            for path in ("one", "two", "three"):
                await client.write_file(session_id, path, b"1")
            await wait_until(heard, lambda paths: paths == ["before", "one", "two", "three"])
            await wait_until(attached)
            await wait_until(reported)
            assert not following.done()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
