"""Measure the silence of a terminal when something under it dies, and the return of a session."""

from __future__ import annotations

import asyncio
import re
import signal
import time

import httpx

from benchmarks.harness import Report
from benchmarks.people import PASSWORD, make_users, shell
from benchmarks.settling import processor_seconds, wait_for_rest
from coditect import AsyncClient, AsyncTerminal
from tests.support import processes
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess
from tests.support.waiting import wait_until

KINDS = ("SessionActor", "JournalActor", "StoreActor", "one replica", "all replicas", "HAProxy")
ROUNDS = 4
TICK_SECONDS = 0.02
PRINTED = 20 << 20
CROWD = 100
TICKER = f"i=0; while true; do i=$((i+1)); echo t$i; sleep {TICK_SECONDS}; done\r"
_NUMBER = re.compile(rb"t(\d+)\r\n")


def main() -> None:
    """Kill one kind after the other under a terminal that counts; then sleep, print, and lose many."""
    report = Report("survival")
    with ServerProcess(pool_size=2, dashboard=False, passivate_after=2) as server:
        asyncio.run(_deaths(server, report))
        asyncio.run(_resume(server, report))
        asyncio.run(_printing(server, report))
        asyncio.run(_whole_server(server, report))
        asyncio.run(_many(server, report))
    report.finish()


class Counted:
    """A terminal that prints numbers: the longest time without one, and whether one is missing."""

    def __init__(self, terminal: AsyncTerminal) -> None:
        self._terminal = terminal
        self._pending = b""
        self.last = 0
        self.at = time.perf_counter()
        self.longest = 0.0
        self.lost = self.repeated = 0

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            self._pending += await self._terminal.read(60)
            *lines, self._pending = self._pending.split(b"\n")
            for line in lines:
                self._take(line + b"\n")

    def _take(self, line: bytes) -> None:
        found = _NUMBER.search(line)
        if found is None:
            return
        number, now = int(found[1]), time.perf_counter()
        self.lost += max(0, number - self.last - 1)
        self.repeated += number <= self.last
        self.last = max(self.last, number)
        self.longest, self.at = max(self.longest, now - self.at), now

    async def until(self, number: int) -> None:
        """Wait until the count has come so far."""
        await wait_until(lambda: asyncio.sleep(0, self.last), lambda last: last >= number, 120)


async def _deaths(server: ServerProcess, report: Report) -> None:
    [email] = await make_users(server, "deaths", 1)
    lost = repeated = 0
    async with AsyncClient(server.url, timeout_seconds=60) as client:
        session_id = (await client.login(email, PASSWORD)).session_id
        async with shell(client, session_id) as terminal:
            await terminal.send(TICKER)
            counted = Counted(terminal)
            reading = asyncio.create_task(counted.run())
            for kind in KINDS:
                silences = []
                for number in range(ROUNDS):
                    await counted.until(counted.last + 100)
                    counted.longest = 0.0
                    _kill(server, kind, number)
                    await counted.until(counted.last + 100)
                    silences.append(counted.longest)
                    await asyncio.sleep(5)
                report.add_quantiles(
                    f"{kind} killed: longest silence of an open terminal", silences, p99=2000
                )
            lost, repeated = counted.lost, counted.repeated
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    report.add("lines lost over all of these deaths", lost, "", 0)
    report.add("lines repeated", repeated, "", 0)


def _kill(server: ServerProcess, kind: str, number: int) -> None:
    """Kill all of a kind; of the replicas, one of which has the terminal, now the one, now the other."""
    if kind == "one replica":
        replicas = sorted(processes.of(server, "replica"))
        processes.send([replicas[number % len(replicas)]], signal.SIGKILL)
    else:
        processes.kill(server, kind.removeprefix("all ").removesuffix("s"))


async def _resume(server: ServerProcess, report: Report) -> None:
    [email] = await make_users(server, "sleeper", 1)
    first, live = [], []
    async with AsyncClient(server.url, timeout_seconds=60) as client:
        session_id = (await client.login(email, PASSWORD)).session_id
        async with shell(client, session_id) as terminal:
            await terminal.send("echo seen-befo''re\r")
            await terminal.read_until(b"seen-before\r\n", 30)
        for number in range(10):
            await client.hibernate(session_id)
            await wait_until(lambda: client.session(session_id), lambda s: s.status == "hibernated")
            began = time.perf_counter()
            terminal = await client.terminal(session_id, "main")
            await terminal.read(30)
            first.append(time.perf_counter() - began)
            await terminal.send(f"echo li''ve{number}\r")
            await terminal.read_until(f"live{number}\r\n".encode(), 60)
            live.append(time.perf_counter() - began)
            await terminal.close()
    report.add_quantiles("hibernated session to first byte of its transcript", first, p50=100)
    report.add_quantiles("hibernated session to a live shell that answers", live)


async def _printing(server: ServerProcess, report: Report) -> None:
    [email] = await make_users(server, "printer", 1)
    async with AsyncClient(server.url, timeout_seconds=60) as client:
        session_id = (await client.login(email, PASSWORD)).session_id
        async with shell(client, session_id) as terminal:
            await wait_for_rest(server)
            keepers = [*processes.of(server, "JournalActor"), *processes.of(server, "StoreActor")]
            before = processor_seconds(server)
            began = time.perf_counter()
            await terminal.send(f"yes | head -c {PRINTED}; echo do''ne\r")
            await terminal.read_until(b"done\r\n", 300)
            took = time.perf_counter() - began
            after = processor_seconds(server)
    used = sum(after[pid] - before[pid] for pid in keepers)
    megabytes = PRINTED * 1.5 / 1e6  # the terminal prints two bytes for a line's end
    report.add("a terminal that prints without end", megabytes / took, "MB/s")
    report.add("the journal's processor time a MB of output", 1000 * used / megabytes, "ms")


async def _whole_server(server: ServerProcess, report: Report) -> None:
    [email] = await make_users(server, "whole", 1)
    async with AsyncClient(server.url, timeout_seconds=120) as client:
        session_id = (await client.login(email, PASSWORD)).session_id
        terminal = await client.terminal(session_id, "main", give_up_seconds=300)
        await terminal.send(TICKER)
        counted = Counted(terminal)
        reading = asyncio.create_task(counted.run())
        await counted.until(200)
        counted.longest = 0.0
        assert server.process is not None
        server.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(server.process.wait)
        await asyncio.to_thread(server.start)
        await counted.until(counted.last + 100)
        report.add(
            "everything but the containers killed, started again: silence", counted.longest, "s",
            note=f"{server.started_seconds:.1f} s of it the start",
        )  # fmt: skip
        report.add("lines lost or repeated by that", counted.lost + counted.repeated, "", 0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await terminal.close()


async def _many(server: ServerProcess, report: Report) -> None:
    emails = await make_users(server, "many", CROWD)
    gate = asyncio.Semaphore(4)

    async def enter(email: str) -> str:
        async with gate, AsyncClient(server.url, timeout_seconds=120) as client:
            session_id = (await client.login(email, PASSWORD)).session_id
            async with shell(client, session_id):
                return session_id

    mine = set(await asyncio.gather(*(enter(email) for email in emails)))
    async with AsyncClient(server.url, timeout_seconds=120) as admin:
        await admin.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        known = await _all(server, admin)
        before = {s["session_id"]: s["container_id"] for s in known if s["session_id"] in mine}
        began = time.perf_counter()
        running = server.containers()
        processes.send([running[c] for c in before.values() if c in running], signal.SIGKILL)
        healed: list[float] = []
        async with asyncio.timeout(600):
            while len(healed) < CROWD:
                ready = sum(
                    s["status"] == "ready"
                    and s["container_id"] not in {None, before[s["session_id"]]}
                    for s in await _all(server, admin)
                    if s["session_id"] in before
                )
                healed += [time.perf_counter() - began] * (ready - len(healed))
                await asyncio.sleep(0.2)
    report.add(f"{CROWD} containers killed at once: half of them replaced", healed[CROWD // 2], "s")
    report.add(f"{CROWD} containers killed at once: all replaced", healed[-1], "s")


async def _all(server: ServerProcess, admin: AsyncClient) -> list[dict]:
    """Return every live session, as operators see them."""
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {admin.access_token}"}) as http:
        answer = await http.get(f"{server.url}/api/admin/sessions", params={"limit": 1000})
    return answer.json()["sessions"]


if __name__ == "__main__":
    main()
