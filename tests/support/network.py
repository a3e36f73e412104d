"""Two network namespaces joined by a pair of devices, and packets that are lost between them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Self


class Way(StrEnum):
    """The packets to drop, as seen from this namespace."""

    BOTH = "both ways"
    OUT = "one way, to the other node"
    IN = "one way, from the other node"


def missing() -> str | None:
    """Return why no second namespace can be had on this machine, None if one can."""
    if os.geteuid() != 0:
        return "network namespaces: needs root"
    for tool in ("ip", "nft", "nsenter"):
        if shutil.which(tool) is None:
            return f"network namespaces: needs {tool}"
    name = f"cdt-{secrets.token_hex(3)}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"network namespaces: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return None


class Wire:
    """This namespace, another one, and the wire between; ``here`` and ``there`` are their addresses.

    From 198.18.0.0/15, which is for tests of networks (RFC 2544).
    """

    def __init__(self) -> None:
        token = secrets.token_hex(3)
        self.name = f"cdt-{token}"
        self._device, self._other = f"cda-{token}", f"cdb-{token}"
        net = f"198.18.{secrets.randbelow(256)}.{4 * secrets.randbelow(64)}".rpartition(".")
        self.here = f"{net[0]}.{int(net[2]) + 1}"
        self.there = f"{net[0]}.{int(net[2]) + 2}"

    def __enter__(self) -> Self:
        _run("ip", "netns", "add", self.name)
        try:
            peer = ("type", "veth", "peer", "name", self._other, "netns", self.name)
            _run("ip", "link", "add", self._device, *peer)
            _run("ip", "address", "add", f"{self.here}/30", "dev", self._device)
            _run("ip", "link", "set", self._device, "up")
            inside = ("ip", "-n", self.name)
            _run(*inside, "address", "add", f"{self.there}/30", "dev", self._other)
            for device in ("lo", self._other):
                _run(*inside, "link", "set", device, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        _run("ip", "netns", "delete", self.name)
        # Its end of the wire goes with the namespace, but only when its last process has ended.
        with contextlib.suppress(subprocess.CalledProcessError):
            _run("ip", "link", "delete", self._device)

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs another one in the other namespace, and nothing else of it."""
        return ["nsenter", f"--net=/var/run/netns/{self.name}", *command]

    @asynccontextmanager
    async def dropping(self, way: Way, *, spared_port: int | None = None) -> AsyncIterator[None]:
        """Lose the packets that come in, without a word to who sent them; those of a port pass."""
        sides = []
        if way is not Way.OUT:
            sides.append((self._device, []))
        if way is not Way.IN:
            sides.append((self._other, self.inside([])))
        async with contextlib.AsyncExitStack() as stack:
            for device, prefix in sides:
                await stack.enter_async_context(_dropping(device, prefix, spared_port))
            yield


@asynccontextmanager
async def _dropping(device: str, prefix: Sequence[str], spared: int | None) -> AsyncIterator[None]:
    table = ("inet", f"drop_{device.replace('-', '_')}")
    rules = [f"iifname {device} drop"]
    if spared is not None:
        rules[:0] = [f"iifname {device} tcp {side} {spared} accept" for side in ("sport", "dport")]
    await asyncio.to_thread(_run, *prefix, "nft", "add", "table", *table)
    try:
        chain = ("{", "type", "filter", "hook", "input", "priority", "0", ";", "}")
        await asyncio.to_thread(_run, *prefix, "nft", "add", "chain", *table, "input", *chain)
        for rule in rules:
            await asyncio.to_thread(
                _run, *prefix, "nft", "add", "rule", *table, "input", *rule.split()
            )
        yield
    finally:
        await asyncio.to_thread(_run, *prefix, "nft", "delete", "table", *table)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)
