"""What the raylet starts for a worker: has the parent fork it, or else becomes Ray's plain worker.

The raylet starts it by a link beside the parent's socket (``owner.py``); its arguments are those of
a plain worker. It imports only what Python has loaded already: this runs once for each worker.
"""

from __future__ import annotations

import os
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SHUT_RD, SHUT_WR, SOCK_STREAM, SOL_SOCKET, socket

SOCKET = "workers.sock"
PLAIN_WORKER = "plain_worker.py"
ANSWER = b"1"
"""Sent by the fork, once it is a worker that only has to run."""

PATIENCE_SECONDS = 10.0
"""Longer than the parent takes to import; shorter than the raylet waits for a worker."""


def request() -> bytes:
    """Return directory, arguments and environment of this process, as ``Order.parse`` takes them."""
    words = [os.getcwd(), str(len(sys.argv) - 1), *sys.argv[1:]]
    words += [f"{name}={value}" for name, value in os.environ.items()]
    return os.fsencode("\0".join(words))


def is_forked(path: str) -> bool:
    """Ask for a fork; return whether there is one. After False there never will be."""
    parent = socket(AF_UNIX, SOCK_STREAM)
    parent.settimeout(PATIENCE_SECONDS)
    try:
        parent.connect(path)
        streams = b"".join(stream.to_bytes(4, sys.byteorder) for stream in (0, 1, 2))
        order = request()
        sent = parent.sendmsg([order], [(SOL_SOCKET, SCM_RIGHTS, streams)])
        parent.sendall(order[sent:])
        parent.shutdown(SHUT_WR)
        return parent.recv(1) == ANSWER
    except OSError:
        return _is_answered(parent)


def _is_answered(parent: socket) -> bool:
    """Refuse answers from now on, upon which a fork ends itself; return whether one was there before."""
    try:
        parent.shutdown(SHUT_RD)
        return parent.recv(1) == ANSWER
    except OSError:
        return False


def main() -> None:
    """End when there is a fork; otherwise become the plain worker."""
    place = os.path.dirname(sys.argv[0])
    if is_forked(f"{place}/{SOCKET}"):
        os._exit(0)
    command = sys.orig_argv[:]
    command[-len(sys.argv)] = os.path.realpath(f"{place}/{PLAIN_WORKER}")
    os.execv(sys.executable, command)  # noqa: S606 - as the raylet would have


if __name__ == "__main__":
    main()
