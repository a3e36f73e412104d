"""A machine joins a server, gets its share of the sessions, is emptied or lost, and nobody loses anything.

The nodes are two network namespaces of one machine; people come in at the head.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from coditect import Client, ShellRestarted, Terminal
from tests.support import network
from tests.support.joined_node import JoinedNode
from tests.support.network import Wire
from tests.support.server_process import (
    ADMIN_EMAIL,
    ADMIN_PASSWORD,
    ServerProcess,
    free_port,
)

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(400)]

PASSWORD = "correct horse battery staple"
PEOPLE = 4
LEASE_SECONDS = 6.0


@dataclass
class Person:
    client: Client
    session_id: str
    terminal: Terminal


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    reason = network.missing()
    if reason is not None:
        pytest.skip(reason)
    with Wire() as wire:
        yield wire


@pytest.fixture(scope="module")
def head(wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(
        pool_size=3,
        dashboard=False,
        owner_lease=LEASE_SECONDS,
        node_address=wire.here,
        cluster_port=free_port(),
        chunk_store=tmp_path_factory.mktemp("chunks"),
    ) as server:
        yield server


@pytest.fixture(scope="module")
def admin(head: ServerProcess) -> Iterator[Client]:
    with Client(head.url) as client:
        client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        yield client


@pytest.fixture
def node(
    head: ServerProcess, admin: Client, wire: Wire, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JoinedNode]:
    node = JoinedNode(head, wire, tmp_path_factory.mktemp("node"), node_labels="zone=b")
    try:
        node.start()
        until(lambda: all(each.warm_containers > 1 for each in admin.nodes() if alive(each)))
        yield node
    finally:
        node.stop()


@pytest.fixture
def people(head: ServerProcess, admin: Client, node: JoinedNode) -> Iterator[list[Person]]:
    found = []
    for number in range(PEOPLE):
        email = f"{node.node_id}-{number}@example.com"
        admin.create_user(email, PASSWORD)
        client = Client(head.url)
        session = client.login(email, PASSWORD)
        terminal = client.terminal(session.session_id)
        assert "ready 2" in terminal.run("echo ready $((1 + 1))").output
        client.write_file(session.session_id, "kept", b"it is kept\n")
        found.append(Person(client, session.session_id, terminal))
    yield found
    for person in found:
        person.terminal.close()
        person.client.end_session(person.session_id)
        person.client.close()


def alive(node) -> bool:
    return node.status in {"ready", "starting"}


def until(holds, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def patiently(person: Person, command: str) -> str:
    """Run a command again until no shell was replaced meanwhile; the socket is the same one."""
    while True:
        try:
            return person.terminal.run(command, timeout_seconds=60).output.strip()
        except ShellRestarted:
            continue


def homes(admin: Client, people: list[Person]) -> list[set[str | None]]:
    containers = admin.all_containers()
    return [
        {c.node_id for c in containers if c.session_id == each.session_id and c.status == "ready"}
        for each in people
    ]


def test_sessions_are_spread_and_a_node_is_emptied_with_sockets_open(admin, head, node, people):
    [own, other] = admin.nodes()
    assert other.labels == {"zone": "b"}
    before = homes(admin, people)
    assert {other.node_id} in before

    admin.drain_node(other.node_id)
    until(lambda: all(home == {own.node_id} for home in homes(admin, people)))
    for person in people:
        assert patiently(person, "cat kept") == "it is kept"
    assert node.process.wait(60) == 0
    assert "empty" in node.tail()


def test_sessions_of_a_node_that_is_lost_go_on_elsewhere(admin, head, node, people):
    there = [
        person
        for person, home in zip(people, homes(admin, people), strict=True)
        if home == {node.node_id}
    ]
    assert there
    node.kill()
    began = time.monotonic()
    for person in there:
        assert patiently(person, "cat kept") == "it is kept"
    assert time.monotonic() - began < LEASE_SECONDS + 30
    until(lambda: [each.status for each in admin.nodes()][1:].count("lost") == 1)
    # It comes back as the same node, and stops what is left of the sessions it had.
    node.start()
    until(lambda: not any(node.node_id in home for home in homes(admin, there)))
