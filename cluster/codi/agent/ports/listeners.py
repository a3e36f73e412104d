"""Finds what listens in the container's network, and which programs those are.

The kernel is asked for listening sockets alone (sock_diag(7)): ``/proc/net/tcp`` walks the whole machine's
table of connections for it, which takes thirty times as long (docs/design/ports.md). It stands in where a
kernel has no sock_diag.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

_NETLINK_SOCK_DIAG, _TCPDIAG_GETSOCK = 4, 18  # linux/inet_diag.h: that one asks for both families
_REQUEST_DUMP, _ERROR, _DONE, _LISTEN = 0x301, 2, 3, 10
_HEADER = struct.Struct("=IHHII")
_QUERY = struct.pack("=4x48xII", 1 << _LISTEN, 0)
_MESSAGE = struct.Struct(
    "=BB2x2s2x16s28xIIIII"
)  # family, state, port, address; the last is the inode
_BUFFER = 32 << 10
_MAX_LISTED = 128
_MAX_PROCESSES = 1024
_MAX_COMMAND = 200
_REACHABLE = frozenset({"127.0.0.1", "0.0.0.0", "::1", "::"})  # noqa: S104 - what others listen on


class Listener(NamedTuple):
    """A socket that takes connections."""

    port: int
    address: str
    inode: int


class Listeners:
    """Answers what listens, without the ports in ``hidden``. Holds one socket."""

    def __init__(self, hidden: frozenset[int]) -> None:
        self._hidden = hidden
        self._netlink: socket.socket | None = None
        self._raw = b""
        self._found: tuple[Listener, ...] = ()
        with suppress(OSError):
            self._netlink = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
            )
            self._netlink.settimeout(0)

    def close(self) -> None:
        """Close the socket."""
        if self._netlink is not None:
            self._netlink.close()

    def find(self) -> tuple[Listener, ...]:
        """Return what can be reached at the loopback, by port; the same object while nothing has changed."""
        raw = self._ask()
        if raw is None:
            found = _of_proc()
        elif raw == self._raw:
            return self._found
        else:
            self._raw, found = raw, _parsed(raw)
        kept = {
            each.port: each
            for each in sorted(found, reverse=True)
            if each.port not in self._hidden and each.address in _REACHABLE
        }
        sockets = tuple(kept[port] for port in sorted(kept))
        if sockets != self._found:
            self._found = sockets
        return self._found

    def _ask(self) -> bytes | None:
        """Return the kernel's answer; None where it has none."""
        if self._netlink is None:
            return None
        size = _HEADER.size + len(_QUERY)
        try:
            self._netlink.send(_HEADER.pack(size, _TCPDIAG_GETSOCK, _REQUEST_DUMP, 1, 0) + _QUERY)
            answer = b""
            while not _ends(part := self._netlink.recv(_BUFFER)):
                answer += part
        except OSError:
            self.close()
            self._netlink = None
            return None
        return answer + part


def described(found: tuple[Listener, ...]) -> list[dict[str, int | str | None]]:
    """Return the first of them with their programs, as ``GET /ports`` lists them."""
    shown = found[:_MAX_LISTED]
    holders = _holders({each.inode for each in shown})
    return [
        {"port": each.port, "address": each.address, **_program(holders.get(each.inode))}
        for each in shown
    ]


def holder(listener: Listener) -> int | None:
    """Return the process that holds a listening socket, if it can be seen."""
    return _holders({listener.inode}).get(listener.inode)


def _messages(raw: bytes) -> Iterator[tuple[int, int]]:
    """Yield kind and offset of each netlink message."""
    offset = 0
    while offset + _HEADER.size <= len(raw):
        length, kind, *_ = _HEADER.unpack_from(raw, offset)
        yield kind, offset + _HEADER.size
        offset += max(_HEADER.size, (length + 3) & ~3)


def _ends(raw: bytes) -> bool:
    kinds = {kind for kind, _ in _messages(raw)}
    if _ERROR in kinds:
        raise OSError("no sock_diag for TCP")
    return _DONE in kinds


def _parsed(raw: bytes) -> list[Listener]:
    found = []
    for kind, offset in _messages(raw):
        if kind != _TCPDIAG_GETSOCK or offset + _MESSAGE.size > len(raw):
            continue
        family, _, port, address, *_, inode = _MESSAGE.unpack_from(raw, offset)
        packed = address[:4] if family == socket.AF_INET else address
        text = socket.inet_ntop(family, packed)
        found.append(Listener(int.from_bytes(port, "big"), text, inode))
    return found


def _of_proc() -> list[Listener]:
    found = []
    for table, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        with suppress(OSError), open(table, encoding="ascii") as lines:
            for line in lines:
                fields = line.split()
                if fields[3] != f"{_LISTEN:02X}":
                    continue
                address, _, port = fields[1].partition(":")
                # The kernel prints words of four bytes in its own order.
                words = (int(address[at : at + 8], 16) for at in range(0, len(address), 8))
                packed = b"".join(struct.pack("=I", word) for word in words)
                text = socket.inet_ntop(family, packed)
                found.append(Listener(int(port, 16), text, int(fields[9])))
    return found


def _holders(inodes: set[int]) -> dict[int, int]:
    """Return which process holds a socket; the oldest one, as far as they may be looked into."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, int] = {}
    mine = os.getpid()
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit())[:_MAX_PROCESSES]:
        if not wanted:
            break
        if pid == mine:
            continue
        with suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    inode = wanted.pop(os.readlink(f"/proc/{pid}/fd/{name}"), None)
                    if inode is not None:
                        found[inode] = pid
    return found


def _program(pid: int | None) -> dict[str, int | str | None]:
    """Return a process as people know it."""
    words: list[str] = []
    if pid is not None:
        with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            words = file.read(4096).decode("utf-8", "replace").rstrip("\0").split("\0")
    name = os.path.basename(words[0])[:64] if words else None
    command = " ".join(words)[:_MAX_COMMAND] if words else None
    return {"pid": pid, "program": name or None, "command": command or None}
