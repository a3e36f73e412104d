"""Measure SSH: time to a prompt, echo beside the WebSocket's, rsync of many files and of a large one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from benchmarks.harness import Report
from benchmarks.people import PASSWORD, make_users, shell
from coditect import AsyncClient
from tests.support.server_process import ServerProcess

LOGINS = 30
ROUNDS = 300
FILES = 10_000
FILE_BYTES = 1024
LARGE = 1_000_000_000
PIECE = 1 << 20


def main() -> None:
    """Measure with OpenSSH's own client and the machine's rsync."""
    report = Report("ssh")
    place = Path(tempfile.mkdtemp(prefix="coditect-bench-ssh-"))
    try:
        with ServerProcess(pool_size=1, dashboard=False) as server:
            asyncio.run(_measure(server, report, place))
    finally:
        shutil.rmtree(place)
    report.finish()


async def _measure(server: ServerProcess, report: Report, place: Path) -> None:
    [email] = await make_users(server, "ssh", 1)
    async with AsyncClient(server.url, timeout_seconds=60) as client:
        session_id = (await client.login(email, PASSWORD)).session_id
        key = place / "key"
        make = ["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(key)]
        await asyncio.to_thread(subprocess.run, make, check=True)
        await client.add_ssh_key(key.with_suffix(".pub").read_text())
        known = await client.ssh_server()
        (place / "known_hosts").write_text(f"[127.0.0.1]:{known.port} {known.host_key}\n")
        config = place / "config"
        config.write_text(
            f"Host w\n HostName 127.0.0.1\n Port {known.port}\n User {session_id}\n BatchMode yes\n"
            f" IdentityFile {key}\n IdentitiesOnly yes\n UserKnownHostsFile {place}/known_hosts\n"
        )
        ssh = ["ssh", "-F", str(config)]
        await _prompts(report, ssh)
        await _echo(report, ssh, client, session_id)
        await asyncio.to_thread(_rsync, report, ssh, place)


async def _prompts(report: Report, ssh: list[str]) -> None:
    def command() -> float:
        began = time.perf_counter()
        subprocess.run([*ssh, "w", "true"], check=True)
        return time.perf_counter() - began

    def prompt() -> float:
        began = time.perf_counter()
        with _shell(ssh) as process:
            assert process.stdout is not None
            os.read(process.stdout.fileno(), 1)
            return time.perf_counter() - began

    await asyncio.to_thread(command)
    times = [await asyncio.to_thread(command) for _ in range(LOGINS)]
    report.add_quantiles("a command, start of ssh to its end", times)
    times = [await asyncio.to_thread(prompt) for _ in range(LOGINS)]
    report.add_quantiles("start of ssh to the first byte of a prompt", times)


@contextlib.contextmanager
def _shell(ssh: list[str], *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [*ssh, "-tt", "w", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def _echo(report: Report, ssh: list[str], client: AsyncClient, session_id: str) -> None:
    with _shell(ssh, "stty raw -echo; echo ready; exec cat") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        source, target = process.stdout.fileno(), process.stdin.fileno()
        while b"ready" not in os.read(source, 1024):
            pass

        async def by_ssh() -> None:
            os.write(target, b"x")
            os.read(source, 16)

        report.add_quantiles("echo over SSH", await _rounds(by_ssh))
    async with shell(client, session_id) as terminal:
        await terminal.send("stty raw -echo; echo rea''dy; exec cat\r")
        await terminal.read_until(b"ready", 30)
        with contextlib.suppress(TimeoutError):
            while True:
                await terminal.read(0.2)

        async def by_socket() -> None:
            await terminal.send(b"x")
            await terminal.read(30)

        times = await _rounds(by_socket)
        report.add_quantiles("echo over the WebSocket, committed before shown", times)


async def _rounds(once: Callable[[], Awaitable[None]]) -> list[float]:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await once()
        times.append(time.perf_counter() - began)
    return times


def _rsync(report: Report, ssh: list[str], place: Path) -> None:
    many, large = place / "many", place / "large"
    many.mkdir()
    for number in range(FILES):
        directory = many / f"{number // 100}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number}").write_bytes(os.urandom(FILE_BYTES))
    large.mkdir()
    with (large / "file").open("wb") as file:
        for _ in range(LARGE // PIECE):
            file.write(os.urandom(PIECE))
    command = ["rsync", "-a", "-e", shlex.join(ssh)]
    for what, source, back, size in (
        (f"{FILES:,} files of {FILE_BYTES} bytes", many, place / "many-back", 0),
        ("a file of 1 GB", large, place / "large-back", LARGE),
    ):
        name = f"bench-{source.name}"
        up = _timed([*command, f"{source}/", f"w:{name}/"])
        again = _timed([*command, f"{source}/", f"w:{name}/"])
        down = _timed([*command, f"w:{name}/", f"{back}/"])
        for way, seconds in (("up", up), ("up again", again), ("down", down)):
            note = f"{size / 1e6 / seconds:.0f} MB/s" if size and way != "up again" else ""
            report.add(f"rsync of {what}, {way}", seconds, "s", note=note)
        assert subprocess.run(["diff", "-r", str(source), str(back)], check=False).returncode == 0
        subprocess.run([*ssh, "w", f"rm -r {name}"], check=True)


def _timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
