"""Starting programs, and reaping them and their orphans. Nothing here forks Python itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

from cluster.codi.agent import kernel

OOM_SCORE_STEP = 300
NICENESS = 5
_MAX_OOM_SCORE = 1000
_UNKNOWN = 0
# Whatever was ignored by Python or by whoever started us; a program expects the defaults.
_DEFAULT_SIGNALS = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


class Child:
    """A program that was started in a session of its own."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def signal_group(self, number: int) -> None:
        """Signal its process group, if the program has not been reaped yet."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def wait(self, timeout_seconds: float) -> int:
        """Return the exit code (-N after signal N). Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            return await asyncio.shield(self.exited)


class Children:
    """All programs that CODI started. One of it, on the running loop."""

    def __init__(self) -> None:
        self._living: dict[int, Child] = {}
        # The file is root's while the process is closed to others.
        kernel.open_to_others()
        self._oom = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        self._own_score = int(os.pread(self._oom, 16, 0))
        kernel.adopt_orphans()
        kernel.close_to_others()
        kernel.lock_out_signals()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def adopt(self, pid: int) -> Child:
        """Return a program that a former CODI has started. With which code it ends nobody learns."""
        child = self._living[pid] = Child(pid)
        loop = asyncio.get_running_loop()
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            self._ended(pid, _UNKNOWN)
            return child

        def ended() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._ended(pid, _UNKNOWN)

        loop.add_reader(descriptor, ended)
        return child

    @property
    def living(self) -> list[Child]:
        """Those that have not ended."""
        return list(self._living.values())

    def spawn(
        self,
        program: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: int,
        descriptors: Sequence[tuple[int, str | int]],
    ) -> Child:
        """Start a program in a new session, with ``directory`` (a descriptor) as its working one.

        ``descriptors`` says what its descriptors 0, 1, 2 are: ours, or a path to open; a terminal
        that is opened as 0 becomes its controlling one. Raises OSError: EAGAIN when there can be
        no more processes.
        """
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
        for number, source in descriptors:
            if isinstance(source, str):
                actions.append((os.POSIX_SPAWN_OPEN, number, source, os.O_RDWR, 0))
            else:
                actions.append((os.POSIX_SPAWN_DUP2, source, number))
        before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._set_score(min(self._own_score + OOM_SCORE_STEP, _MAX_OOM_SCORE))
        try:
            os.fchdir(directory)
            with kernel.as_user():
                pid = os.posix_spawn(
                    program,
                    list(arguments),
                    environment,
                    file_actions=actions,
                    setsid=True,
                    setsigmask=(),
                    setsigdef=_DEFAULT_SIGNALS,
                )
        finally:
            self._set_score(self._own_score)
            os.fchdir(before)
            os.close(before)
        child = self._living[pid] = Child(pid)
        with contextlib.suppress(OSError):  # it may have ended, or become another user
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
        return child

    def _set_score(self, score: int) -> None:
        with contextlib.suppress(OSError):  # the platform may not allow it
            os.pwrite(self._oom, str(score).encode(), 0)

    def _reap(self) -> None:
        """Collect everything that has ended: ours, and orphans that became ours."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, code: int) -> None:
        child = self._living.pop(pid, None)
        if child is not None and not child.exited.done():
            child.exited.set_result(code)
