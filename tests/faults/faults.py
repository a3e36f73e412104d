"""Faults done to a server: victim, deed and duration, in one table; see README.md."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

from tests.support import processes
from tests.support.server_process import ServerProcess

SIDES = ("sport", "dport")


class How(StrEnum):
    """The deed done to the victim."""

    KILL = "SIGKILL"
    FREEZE = "SIGSTOP"
    CUT = "sockets closed"
    DROP = "packets dropped"
    RESTART = "kill -9 of all but the containers, then up"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. ``seconds`` is how long it lasts where it does not happen at once.

    ``share`` of the victims is hit, at least one. ``shells_lost``: containers go with it, and with
    them the shells. ``slow``: for the long run only.
    """

    victim: str
    how: How
    seconds: float = 0.0
    share: float = 1.0
    shells_lost: bool = False
    slow: bool = False

    def __str__(self) -> str:
        lasts = f" {self.seconds:g} s" if self.seconds else ""
        return f"{self.victim} {self.how.name}{lasts}".lower().replace(" ", "-")


KILLS = [
    Fault("container", How.KILL, share=0.5, shells_lost=True),
    Fault("CODI", How.KILL, share=0.5),
    Fault("SessionActor", How.KILL, share=0.5),
    Fault("PoolActor", How.KILL),
    Fault("HealthChecker", How.KILL),
    Fault("Supervisor", How.KILL),
    Fault("StoreActor", How.KILL),
    Fault("JournalActor", How.KILL),
    Fault("ArchiveActor", How.KILL),
    Fault("replica", How.KILL, share=0.5),
    Fault("HAProxy", How.KILL),
    Fault("GCS", How.KILL),
    Fault("WorkerParent", How.KILL),
]
FREEZES = [
    Fault("SessionActor", How.FREEZE, 9.0, share=0.5),
    Fault("SessionActor", How.FREEZE, 30.0, share=0.5, slow=True),
    Fault("StoreActor", How.FREEZE, 6.0),
    Fault("replica", How.FREEZE, 8.0, share=0.5, slow=True),
    Fault("CODI", How.FREEZE, 3.0, share=0.5, slow=True),
    Fault("CODI", How.FREEZE, 20.0, share=0.5, shells_lost=True, slow=True),
    Fault("JournalActor", How.FREEZE, 5.0),
    Fault("ArchiveActor", How.FREEZE, 12.0, slow=True),
    Fault("PoolActor", How.FREEZE, 40.0, slow=True),
    Fault("HealthChecker", How.FREEZE, 40.0, slow=True),
    Fault("Supervisor", How.FREEZE, 20.0, slow=True),
    Fault("HAProxy", How.FREEZE, 8.0, slow=True),
    Fault("GCS", How.FREEZE, 12.0, slow=True),
]
NETWORK = [
    Fault("container", How.CUT),
    Fault("ingress", How.CUT),
    Fault("container", How.DROP, 5.0),
    Fault("ingress", How.DROP, 5.0),
]
WHOLE = [
    Fault("raylet", How.KILL),
    Fault("everything", How.RESTART),
]
ALL = [*KILLS, *FREEZES, *NETWORK, *WHOLE]
SHORT = [fault for fault in (*KILLS, *FREEZES, *NETWORK) if not fault.slow]
"""Those that leave the server standing and are soon over: they may come in pairs."""


def pair(seed: int) -> tuple[Fault, Fault]:
    """Return two faults of ``SHORT`` for a seed, which happen at the same time."""
    first, second = random.Random(seed).sample(SHORT, 2)
    return first, second


def schedule(seed: int) -> Iterator[tuple[Fault, ...]]:
    """Return an endless sequence of faults and pairs of faults; the same for the same seed."""
    chance = random.Random(seed)
    while True:
        match chance.choices(("one", "two", "whole"), (6, 3, 1))[0]:
            case "one":
                yield (chance.choice([*KILLS, *FREEZES, *NETWORK]),)
            case "two":
                yield tuple(chance.sample(SHORT, 2))
            case _:
                yield (chance.choice(WHOLE),)


def missing_tool(fault: Fault) -> str | None:
    """Return why a fault cannot be made on this machine, None if it can."""
    tool = {How.CUT: "ss", How.DROP: "nft"}.get(fault.how)
    if tool is None:
        return None
    if os.geteuid() != 0:
        return f"{fault.how.value}: needs root"
    if shutil.which(tool) is None:
        return f"{fault.how.value}: needs {tool}"
    return None


async def inject(server: ServerProcess, fault: Fault, chance: random.Random) -> None:
    """Let it happen, and return when it is over; what it broke may still be broken."""
    match fault.how:
        case How.KILL:
            hit = processes.send(_victims(server, fault, chance), signal.SIGKILL)
            assert hit, f"no {fault.victim} runs"
        case How.FREEZE:
            pids = processes.send(_victims(server, fault, chance), signal.SIGSTOP)
            assert pids, f"no {fault.victim} runs"
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                processes.send(pids, signal.SIGCONT)
        case How.CUT:
            sides = [f"{side} = :{port}" for port in _ports(server, fault.victim) for side in SIDES]
            await _run("ss", "-K", " or ".join(sides))
        case How.DROP:
            async with _dropping(_ports(server, fault.victim)):
                await asyncio.sleep(fault.seconds)
        case How.RESTART:
            await asyncio.to_thread(server.kill_all_but_containers)
            await asyncio.to_thread(server.start)


def _victims(server: ServerProcess, fault: Fault, chance: random.Random) -> Sequence[int]:
    pids = sorted(processes.of(server, fault.victim))
    count = max(1, round(len(pids) * fault.share))
    return chance.sample(pids, min(count, len(pids)))


def _ports(server: ServerProcess, victim: str) -> list[int]:
    if victim == "ingress":
        return [server.port]
    return [int(address.rpartition(":")[2]) for address in server.addresses().values()]


@asynccontextmanager
async def _dropping(ports: Sequence[int]) -> AsyncIterator[None]:
    """Drop every packet from and to these ports of the loopback (nftables, a table of our own)."""
    table = f"coditect_faults_{os.getpid()}"
    listed = "{ " + ", ".join(map(str, ports)) + " }"
    await _run("nft", "add", "table", "inet", table)
    try:
        chain = "{ type filter hook input priority 0; }"
        await _run("nft", "add", "chain", "inet", table, "input", chain)
        for side in SIDES:
            await _run("nft", "add", "rule", "inet", table, "input", "tcp", side, listed, "drop")
        yield
    finally:
        await _run("nft", "delete", "table", "inet", table)


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    # ss reports each socket that was gone before it came to it, and ends with 0.
    assert process.returncode == 0, errors.decode()
