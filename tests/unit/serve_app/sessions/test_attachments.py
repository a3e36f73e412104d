"""A replica's sockets, reported to the tables of the nodes."""

from __future__ import annotations

from typing import Any

import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.limits import TooManyRequests
from actors.core.errors.requests import NotFound
from actors.core.records.attendance import AttendanceReport
from actors.health.attendance import Attendance
from serve_app.sessions import attachments as module
from serve_app.sessions.attachments import Attachments
from tests.fakes.gateway_fakes import OWNED, built
from tests.fakes.pool_fakes import session_record

TTL = 9.0


class Tables:
    """The health actors of two nodes; those that are ``away`` do not answer."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.away: set[str] = set()
        self.reports: list[tuple[str, AttendanceReport]] = []
        self.incarnation = 0
        self.tables: dict[str, Attendance] = {}
        for node_id in ("node-1", "node-2"):
            self.restart(node_id)

    def restart(self, node_id: str) -> None:
        self.incarnation += 1
        table = Attendance(self.incarnation, began=self.clock.time - TTL, ttl=TTL)
        self.tables[f"health-{node_id}"] = table

    async def call(self, name: str, called: Any, _limit: float, report: Any) -> Any:
        if name in self.away:
            raise Unavailable(name, "away")
        if called.__name__ == "attendance":
            return [self.tables[name].attached(each, self.clock.time) for each in report]
        assert called.__name__ == "attend"
        self.reports.append((name, report))
        return self.tables[name].report(report, self.clock.time)

    def attached(self, session_id: str = "s1", node_id: str = "node-1") -> int:
        return self.tables[f"health-{node_id}"].attached(session_id, self.clock.time)


class Replica:
    """Attachments over a gateway to one session."""

    def __init__(self) -> None:
        self.gateway, self.actors, self.ledger, self.clock = built(OWNED, a1=[None])
        self.tables = Tables(self.clock)
        self.attachments = Attachments(
            self.gateway,
            self.tables,
            self.clock,
            replica_id="r1",
            node_id="node-1",
            ttl=TTL,
        )

    async def attach(self, *clients: str) -> None:
        for client in clients:
            await self.attachments.attach("s1", client)

    async def report(self, seconds: float = 0.0) -> list[tuple[str, AttendanceReport]]:
        self.clock.time += seconds
        before = len(self.tables.reports)
        await self.attachments.report()
        return self.tables.reports[before:]


@pytest.fixture
def replica() -> Replica:
    return Replica()


async def test_a_node_gets_the_whole_once_and_then_what_has_changed(replica):
    await replica.attach("l1")
    ((_, first),) = await replica.report()
    await replica.attach("l2")
    ((_, second),) = await replica.report()
    assert (first.whole, first.counts, second.whole, second.counts) == (
        True, {"s1": 1}, False, {"s1": 2},
    )  # fmt: skip
    assert replica.tables.attached() == 2
    assert await replica.report(0.5) == []


async def test_signs_of_life_keep_what_was_reported(replica):
    await replica.attach("l1")
    for _ in range(20):
        await replica.report(1.0)
    assert replica.tables.attached() == 1
    assert 5 <= len(replica.tables.reports) <= 10


async def test_a_socket_that_goes_is_reported_and_nothing_behind_it(replica):
    await replica.attach("l1")
    await replica.report()
    replica.attachments.detach("s1", "l1")
    ((_, report),) = await replica.report()
    assert report.counts == {"s1": 0}
    assert replica.tables.attached() == 0
    assert await replica.report(100.0) == []
    await replica.attach("l1")
    await replica.report()
    assert replica.tables.attached() == 1


async def test_a_new_table_gets_the_whole_in_the_same_round(replica):
    await replica.attach("l1")
    await replica.report()
    replica.tables.restart("node-1")
    changed, whole = await replica.report(5.0)
    assert (changed[1].whole, whole[1].whole) == (False, True)
    assert replica.tables.attached() == 1


async def test_a_table_that_was_away_gets_the_whole(replica):
    await replica.attach("l1")
    await replica.report()
    replica.tables.away.add("health-node-1")
    await replica.attach("l2")
    assert await replica.report() == []
    replica.tables.away.clear()
    ((_, report),) = await replica.report(1.0)
    assert (report.whole, replica.tables.attached()) == (True, 2)


async def test_a_node_that_is_gone_is_left_alone_once_nobody_is_attached_there(replica):
    await replica.attach("l1")
    replica.tables.away.add("health-node-1")
    await replica.report()
    replica.attachments.detach("s1", "l1")
    await replica.report()
    replica.tables.away.clear()
    assert await replica.report() == []


async def test_a_session_that_moved_is_reported_to_its_new_node_and_taken_from_the_old(replica):
    await replica.attach("l1")
    await replica.report()
    replica.gateway.see(OWNED.model_copy(update={"owner_node_id": "node-2"}))
    await replica.report()
    assert (replica.tables.attached(), replica.tables.attached(node_id="node-2")) == (0, 1)


async def test_sockets_of_a_session_are_bounded(replica, monkeypatch):
    monkeypatch.setattr(module, "MAX_SOCKETS", 2)
    await replica.attach("l1", "l2")
    with pytest.raises(TooManyRequests):
        await replica.attach("l3")
    replica.attachments.detach("s1", "l1")
    await replica.attach("l3")
    assert len(replica.attachments) == 2


async def test_a_socket_that_could_not_attach_is_not_attached(replica):
    replica.ledger.records.clear()
    with pytest.raises(NotFound):
        await replica.attach("l1")
    assert (len(replica.attachments), await replica.report()) == (0, [])


async def test_the_sockets_of_all_replicas_are_asked_of_each_sessions_node(replica):
    await replica.attach("l1", "l2")
    await replica.report()
    elsewhere = session_record("s2", workspace_node_id="node-2")
    assert await replica.attachments.of_all([OWNED, elsewhere]) == {"s1": 2, "s2": 0}
    replica.tables.away.add("health-node-2")
    assert await replica.attachments.of_all([OWNED, elsewhere]) == {"s1": 2}
