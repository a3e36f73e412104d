"""Measure the way out of containers: downloads and requests beside direct ones, and idle connections."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.harness import Report, quantile
from benchmarks.people import PASSWORD, make_users
from coditect import AsyncClient
from tests.support import processes
from tests.support.egress import web
from tests.support.server_process import ServerProcess

DOWNLOAD = 512 << 20
RUNS = 5
REQUESTS = 200
IDLE = 1000

_CURL = "NO_PROXY= no_proxy= curl -sS -o /dev/null"
_OPEN = """
ulimit -n "$(ulimit -Hn)"
for ((i = 0; i < %d; i++)); do
  exec {fd}<>/dev/tcp/127.0.0.1/3128 || exit 1
  printf 'CONNECT localhost:%d HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n' >&$fd
  read -r line <&$fd; [[ $line == *200* ]] || { echo "$i: $line"; exit 1; }
done
echo open; sleep %d
"""


def main() -> None:
    """Measure a whole server, to whose containers this machine's loopback is the internet."""
    report = Report("egress")
    settings = {"egress_hosts": "localhost", "egress_connections": IDLE + 10}
    with (
        tempfile.TemporaryDirectory() as directory,
        web(Path(directory)) as port,
        ServerProcess(pool_size=1, dashboard=False, **settings) as server,
    ):
        (Path(directory) / "small").write_text("small\n")
        asyncio.run(_measure(server, port, report))
    report.finish()


async def _measure(server: ServerProcess, port: int, report: Report) -> None:
    [email] = await make_users(server, "egress", 1)
    async with AsyncClient(server.url, timeout_seconds=300) as client:
        session_id = (await client.login(email, PASSWORD)).session_id

        async def inside(script: str) -> list[float]:
            answer = await client.exec(session_id, ["bash", "-c", script], timeout_seconds=240)
            assert answer.exit_code == 0, answer
            return [float(word) for word in answer.stdout.split()]

        async def direct(script: str) -> list[float]:
            done = await asyncio.to_thread(
                subprocess.run, ["bash", "-c", script], capture_output=True, check=True
            )
            return [float(word) for word in done.stdout.split()]

        [gateway] = [psutil.Process(pid) for pid in processes.of(server, "EgressActor")]
        await _downloads(report, inside, direct, gateway, port)
        script = (
            f"for ((i = 0; i < {REQUESTS}; i++)); do {_CURL} -w '%{{time_total}}\\n'"
            f" http://localhost:{port}/small; done"
        )
        report.add_quantiles("small request, direct", await direct(script))
        report.add_quantiles("small request, by the gateway", await inside(script))
        await _idle(report, client, session_id, gateway)


async def _downloads(report, inside, direct, gateway, port) -> None:
    url = f"http://localhost:{port}/bytes?{DOWNLOAD}"
    ways = {"direct": (direct, ""), "tunnel": (inside, "-p"), "passed on": (inside, "")}
    for name, (run, option) in ways.items():
        before = gateway.cpu_times()
        script = f"{_CURL} {option} -w '%{{speed_download}}\\n' {url}"
        speeds = [(await run(script))[0] for _ in range(RUNS)]
        note = f"{DOWNLOAD:,} bytes, median of {RUNS}"
        report.add(f"download, {name}", quantile(speeds, 0.5) / 1e6, "MB/s", note=note)
        if run is inside:
            after = gateway.cpu_times()
            spent = after.user + after.system - before.user - before.system
            report.add(f"processor time, {name}", spent / (RUNS * DOWNLOAD / 1e9), "s/GB")


async def _idle(
    report: Report, client: AsyncClient, session_id: str, gateway: psutil.Process
) -> None:
    """Open tunnels to a socket that never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as silent:
        before, files = gateway.memory_full_info().uss, gateway.num_fds()
        script = _OPEN % (IDLE, silent.getsockname()[1], 20)
        began = time.perf_counter()
        argv = ["bash", "-c", script]
        running = asyncio.create_task(client.exec(session_id, argv, timeout_seconds=200))
        while gateway.num_fds() < files + 2 * IDLE:
            assert not running.done(), running.result()
            await asyncio.sleep(0.2)
        report.add(f"{IDLE} tunnels opened one by one", time.perf_counter() - began, "s")
        spent = gateway.cpu_times()
        grown = gateway.memory_full_info().uss - before
        report.add(f"memory of an idle tunnel, n={IDLE}", grown / IDLE / 1e3, "kB")
        await asyncio.sleep(10)
        now = gateway.cpu_times()
        busy = now.user + now.system - spent.user - spent.system
        report.add(f"processor time beside {IDLE} idle tunnels", busy / 10 * 1000, "ms/s")
        assert "open" in (await running).stdout


if __name__ == "__main__":
    main()
