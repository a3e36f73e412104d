"""The warm parent: imports what workers import, and forks them one after the other.

A fork has only the thread that forked, so nothing may start another here, as a channel of gRPC would. Nor may
Ray's own generator of ids be used: all forks would draw the same. Both are looked at, not hoped for.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

from cluster.workers.launcher import ANSWER, PLAIN_WORKER
from cluster.workers.order import Order
from cluster.workers.owner import REFUSED

OOM_SCORE = "1000"
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve forks to launchers; in a fork, be the worker to its end.

    Arguments: the directory of the plain worker, the server's pid, the socket to which launchers connect,
    how many modules that workers import do so without Ray, these, all others, and one that only takes room: a
    process's title has the place of its arguments. Standard input: the raylet's pid, when there is one.
    """
    directory, server, listening, count, *modules, _ = sys.argv[1:]
    _end_with(int(server))
    listener = socket.socket(fileno=int(listening))
    environment = dict(os.environ)  # imports change it
    gc.disable()
    _import(modules[: int(count)])
    environment |= _of_the_raylet(sys.stdin.readline().strip())
    with _ids_from_the_kernel():
        _import(modules[int(count) :])
    check()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects forks that end
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # as the raylet's workers have it
    file = (Path(directory) / PLAIN_WORKER).resolve()
    code = compile(file.read_bytes(), file, "exec")
    gc.collect()
    gc.freeze()
    _say("ready")
    order, connection = _forks(listener, environment)
    try:
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        order.take_place()
        connection.sendall(ANSWER)
        connection.close()
    except BaseException:  # noqa: BLE001 - the launcher takes its own place, whatever it was
        os._exit(1)
    gc.enable()
    _run(code, file, order.arguments)


def _end_with(server: int) -> None:
    """Have the kernel end this process with the server's (prctl(2)); the forks live on."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != server:
        sys.exit("the server has ended")
    # Ray makes workers the first that a full memory ends; forks inherit it.
    Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)


@contextmanager
def _ids_from_the_kernel() -> Iterator[None]:
    """Give the actor classes that modules of Ray make their ids without Ray's generator."""
    ray_actor: Any = importlib.import_module("ray.actor")
    ids = ray_actor.ActorClassID
    ray_actor.ActorClassID = SimpleNamespace(from_random=lambda: ids(os.urandom(ids.size())))
    try:
        yield
    finally:
        ray_actor.ActorClassID = ids


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        importlib.import_module(name)


def _of_the_raylet(pid: str) -> dict[str, str]:
    """Return Ray's variables as the raylet has them, and take them on: Ray reads them when it is imported."""
    if not pid:
        sys.exit("the server has ended")
    if "ray" in sys.modules:
        _say("Ray was imported too early")
        sys.exit(REFUSED)
    words = os.fsdecode(Path(f"/proc/{pid}/environ").read_bytes()).split("\0")
    variables = dict(word.split("=", 1) for word in words if word.startswith("RAY_"))
    variables["RAY_RAYLET_PID"] = pid
    os.environ.update(variables)
    return variables


def check() -> None:
    """End with ``REFUSED`` unless this process has one thread and its forks draw different ids."""
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        _say(f"{threads} threads: a fork would lack all but one")
    elif _drawn_in_a_fork() == _drawn_in_a_fork():
        _say("forks would draw the same ids")
    else:
        return
    sys.exit(REFUSED)


def _drawn_in_a_fork() -> bytes:
    ray: Any = importlib.import_module("ray")
    ours, theirs = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(theirs, ray.UniqueID.from_random().binary())
        os._exit(0)
    os.close(theirs)
    drawn = os.read(ours, 64)
    os.close(ours)
    os.waitpid(pid, 0)
    return drawn


def _forks(listener: socket.socket, environment: Mapping[str, str]) -> tuple[Order, socket.socket]:
    """Fork one worker after the other; returns in each of them, and never here."""
    while True:
        connection, _ = listener.accept()
        order = None
        try:
            order = Order.receive(connection)
            order.check(environment)
            if os.fork() == 0:
                return order, connection
        except (OSError, ValueError) as error:
            _say(f"no fork: {error}")
        if order is not None:
            order.close()
        connection.close()


def _run(code: CodeType, file: Path, arguments: Sequence[str]) -> None:
    """Run Ray's worker, as if it had been started from its file."""
    sys.argv = [str(file), *arguments]
    sys.path[0] = str(file.parent)
    main_module = sys.modules["__main__"] = ModuleType("__main__")
    main_module.__file__ = str(file)
    exec(code, main_module.__dict__)  # noqa: S102 - a file of Ray's


def _say(what: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {what}\n")


if __name__ == "__main__":
    main()
