"""An HAProxy that stands in for Serve's last one when that has died, until Serve has its next.

Serve misses its HAProxy for seconds, starts the process that manages it anew, and has it serve nobody until
it knows the replicas. Meanwhile this one listens, on the same configuration. It has no admin socket: Serve
would take it for its own, and be stuck at the next change of replicas. The wrapper (``haproxy.py``) has
Serve's next one take over: upon its ``-sf`` this one stops listening, and ends with its last connection.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

logger = logging.getLogger(__name__)

CONFIGURATION = "stand-in.cfg"
PID = "stand-in.pid"
MAX_AT_ONCE = 4
CONNECT_SECONDS = 1.0
START_SECONDS = 2.0
_PR_SET_PDEATHSIG = 1
_SECTION = re.compile(r"^(?=\w)", re.MULTILINE)
_NOT_ITS_OWN = re.compile(r"^\s*(?:stats socket|server-state-|load-server-state).*\n", re.MULTILINE)


def configuration(serves: str) -> str:
    """Return Serve's configuration without what only one may have: admin socket, state, figures. Pure."""
    sections = [
        section
        for section in _SECTION.split(serves)
        if not section.startswith(("frontend prometheus", "listen stats"))
    ]
    return _NOT_ITS_OWN.sub("", "".join(sections))


class StandIn:
    """Watches Serve's HAProxies. All calls come from the main thread, with which what it starts ends.

    ``directory`` has the wrapper, and below it Serve's configuration; each HAProxy that the wrapper started
    has a file in ``pids``; ``address`` is where people reach the ingress.
    """

    def __init__(self, binary: str, directory: Path, pids: Path, address: tuple[str, int]) -> None:
        self._binary = binary
        self._directory = directory
        self._pids_dir = pids
        self._address = address
        self._poll = select.poll()
        self._known: set[str] = set()
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def pids(self) -> set[int]:
        """Return the processes that are collected here when they end."""
        return {process.pid for process in self._started}

    def watch(self, seconds: float) -> None:
        """Wait that long for the end of an HAProxy; if none is left that listens, start one."""
        has_ended = self._has_ended_already()
        for descriptor, _ in self._poll.poll(0 if has_ended else seconds * 1000):
            self._poll.unregister(descriptor)
            os.close(descriptor)
            has_ended = True
        if has_ended and not self._is_served():
            self._try_start()
        self._tend()

    def _has_ended_already(self) -> bool:
        """Look for new ones; return whether one of them is gone."""
        names = {path.name for path in self._pids_dir.iterdir()}
        has_ended = False
        for name in names - self._known:
            try:
                self._poll.register(os.pidfd_open(int(name)), select.POLLIN)
            except ProcessLookupError:
                has_ended = True
        self._known = names
        return has_ended

    def _is_served(self) -> bool:
        try:
            socket.create_connection(self._address, CONNECT_SECONDS).close()
        except ConnectionRefusedError:
            return False
        except OSError:  # slow is not dead
            return True
        return True

    def _try_start(self) -> None:
        try:
            self._start()
        except OSError as error:
            logger.warning("nothing stands in for HAProxy: %s", error)

    def _start(self) -> None:
        if len(self._started) >= MAX_AT_ONCE:
            _end(self._started.pop(0))
        for serves in self._directory.glob("*/haproxy.cfg"):
            file = self._directory / CONFIGURATION
            file.write_text(configuration(serves.read_text()))
            logger.warning("HAProxy has ended; another stands in for Serve's next one")
            process = subprocess.Popen(
                [self._binary, "-db", "-dR", "-f", str(file)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                process_group=0, preexec_fn=_end_with_the_server,  # noqa: PLW1509 - as Ray does
            )  # fmt: skip
            self._started.append(process)
            (self._directory / PID).write_text(str(process.pid))
            _wait_for(process)
            return

    def _tend(self) -> None:
        """Collect what has ended, and forget who stands in once Serve's next one has taken over."""
        self._started = [process for process in self._started if process.poll() is None]
        file = self._directory / PID
        with contextlib.suppress(FileNotFoundError):
            if not _listens(int(file.read_text())):
                file.unlink()

    def stop(self) -> None:
        """End all at once. Idempotent."""
        while self._started:
            _end(self._started.pop())


def _wait_for(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and not _listens(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _end_with_the_server() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)


def _listens(pid: int) -> bool:
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return False
    return any(connection.status == psutil.CONN_LISTEN for connection in connections)
