"""The health runner over fakes: losses reach whoever decides."""

import asyncio

import pytest

from actors.core.errors.base import ActorGone, Unavailable
from actors.core.records.containers import ContainerSpec, ContainerStatus, Health
from actors.core.records.sessions import Cause
from actors.health.checker import HealthChecker
from tests.fakes.pool_fakes import (
    ManualClock,
    PoolLedger,
    container_record,
    services,
    session_record,
    settle,
)
from tests.fakes.runtimes import MemoryRuntime

READY = ContainerStatus.READY


REVIVALS_AT_ONCE = 2


class RecordingOwners:
    def __init__(self):
        self.reported, self.reopened, self.causes = [], [], []
        self.error = None

    async def container_lost(self, actor_id, session_id, container_id, reason):
        self.reported.append((actor_id, session_id, container_id, reason))
        if self.error:
            raise self.error

    async def reopen(self, session, dead_actor_id, cause):
        self.reopened.append((session.user_id, session.name, dead_actor_id))
        self.causes.append(cause)
        owned = session.model_copy(update={"owner_actor_id": "a-new"})
        self.ledger.sessions_by_id[session.session_id] = owned
        return "a-new"


class Ward:
    def __init__(self):
        self.clock, self.owners = ManualClock(), RecordingOwners()
        self.ledger, self.runtime = PoolLedger(self.clock), MemoryRuntime()
        self.owners.ledger = self.ledger
        self.attended = set()
        self.runner = HealthChecker(
            services(self.ledger, self.runtime, self.clock),
            self.owners,
            lambda: 0.5,
            revivals=REVIVALS_AT_ONCE,
            attended=self.attended.__contains__,
        )

    async def add(self, container_id, status=ContainerStatus.WARM, **changes):
        spec = ContainerSpec(
            container_id=container_id, tenant_id="t", workspace_id="w", secret="secret"
        )
        handle = await self.runtime.launch(spec)
        self.ledger.records[container_id] = container_record(
            container_id, status, handle=handle, health=Health.HEALTHY, **changes
        )

    async def add_sessions_at_rest(self, count):
        for number in range(count):
            container_id, session_id = f"c{number}", f"s{number}"
            await self.add(container_id, READY, session_id=session_id, user_id=session_id)
            self.ledger.sessions_by_id[session_id] = session_record(
                session_id, container_id=container_id, user_id=session_id
            )

    async def add_session(self, owner):
        await self.add("c1", READY, session_id="s1", user_id="u1")
        self.ledger.sessions_by_id["s1"] = session_record(
            "s1", container_id="c1", owner_actor_id=owner
        )

    async def round(self, seconds=2.0):
        self.clock.advance(seconds)
        await self.runner.refresh()
        await self.runner.probe_due()
        await settle()


@pytest.fixture
async def ward():
    made = Ward()
    yield made
    await made.runner.close()


async def test_the_end_of_a_warm_container_is_noticed_without_a_probe(ward):
    await ward.add("c1")
    await ward.runner.refresh()
    await settle()
    ward.runtime.crash("c1")
    await settle()
    record = ward.ledger.records["c1"]
    assert (record.status, record.health) == (ContainerStatus.LOST, Health.DEAD)
    assert record.reason == "exited: killed by signal 9"


async def test_the_owner_is_reported_of_its_containers_end_at_once(ward):
    await ward.add_session("a1")
    await ward.runner.refresh()
    await settle()
    ward.runtime.crash("c1")
    await settle()
    assert ward.owners.reported == [("a1", "s1", "c1", "exited: killed by signal 9")]
    assert ward.ledger.records["c1"].status is READY


async def test_an_owner_that_did_not_hear_is_reported_again(ward):
    await ward.add_session("a1")
    ward.owners.error = Unavailable("a1", "restarting")
    await ward.runner.refresh()
    await settle()
    ward.runtime.crash("c1")
    await settle()
    ward.owners.error = None
    for _ in range(3):
        await ward.round()
    assert len(ward.owners.reported) == 2
    assert ward.owners.reopened == []


async def test_the_session_of_an_owner_that_is_gone_is_opened_through_the_pool(ward):
    await ward.add_session("a1")
    ward.owners.error = ActorGone("a1")
    await ward.runner.refresh()
    await settle()
    ward.runtime.crash("c1")
    await settle()
    assert ward.owners.reopened == [("u1", "main", "a1")]


async def test_while_a_dead_owner_is_replaced_the_next_containers_are_watched(ward):
    """A session that is hit twice within half a minute: the second time nobody must be looking away."""
    replaced = asyncio.Event()

    async def slowly(session, dead_actor_id, cause):
        ward.owners.reopened.append(session.session_id)
        await replaced.wait()

    ward.owners.reopen = slowly
    ward.owners.error = ActorGone("a1")
    await ward.add_session("a1")
    await ward.runner.refresh()
    await settle()
    ward.runtime.crash("c1")
    await settle()
    assert ward.owners.reopened == ["s1"]
    await ward.add("warm")
    async with asyncio.timeout(5):
        for _ in range(4):
            await ward.round()
    ward.runtime.crash("warm")
    await settle()
    assert ward.ledger.records["warm"].status is ContainerStatus.LOST
    assert ward.owners.reopened == ["s1"], "asked for once until there is an answer"
    replaced.set()
    await settle()
    for _ in range(4):
        await ward.round()
    assert ward.owners.reopened == ["s1"] * 3


async def test_a_passive_session_is_opened_to_replace_its_container(ward):
    await ward.add_session(None)
    await ward.runner.refresh()
    await settle()
    ward.runtime.crash("c1")
    await settle()
    assert ward.owners.reopened == [("u1", "main", None)]
    assert ward.owners.causes == [Cause.LOSS]
    assert ward.ledger.records["c1"].lost_at == ward.clock.now()
    [session] = ward.ledger.sessions_by_id.values()
    # Its owner let go of it, and did not replace the container: it is opened again, but not at once.
    at_rest = session.model_copy(update={"owner_actor_id": None})
    ward.ledger.sessions_by_id[session.session_id] = at_rest
    for opened, rounds in ((1, 2), (2, 6)):
        for _ in range(rounds):
            await ward.round()
        assert ward.owners.reopened == [("u1", "main", None)] * opened


async def test_a_session_whose_container_is_silent_gets_an_owner_and_this_a_report(ward):
    await ward.add_session(None)
    await ward.round()
    ward.runtime.health["c1"] = Health.UNHEALTHY
    for _ in range(12):
        await ward.round()
    assert ward.owners.causes[0] is Cause.CALL, "who is to be convinced has to stay"
    [first, *_] = ward.owners.reported
    assert first == ("a-new", "s1", "c1", "3 probes in a row failed")


async def test_after_a_reboot_passive_sessions_are_opened_a_few_at_a_time_and_probes_go_on(ward):
    await ward.add_sessions_at_rest(6)
    await ward.add("warm")
    await ward.runner.refresh()
    await settle()
    for number in range(6):
        ward.runtime.crash(f"c{number}")
    for done in range(0, 6, REVIVALS_AT_ONCE):
        for _ in range(2):
            await ward.round()
        opened = [user for user, _, _ in ward.owners.reopened]
        assert len(opened) == len(set(opened)) == done + REVIVALS_AT_ONCE
        for user in opened:
            ward.ledger.sessions_by_id[user] = session_record(user, container_id=f"new-{user}")
    assert ward.runner.stats()["probes_total"] > 0


async def test_sessions_that_somebody_is_attached_to_are_revived_first(ward):
    await ward.add_sessions_at_rest(6)
    ward.attended |= {"s4", "s5"}
    await ward.runner.refresh()
    await settle()
    for number in range(6):
        ward.runtime.crash(f"c{number}")
    for done in range(2, 7, REVIVALS_AT_ONCE):
        for _ in range(2):
            await ward.round()
        opened = [user for user, _, _ in ward.owners.reopened]
        assert len(opened) == done
        assert {"s4", "s5"} <= set(opened[:4])
        for user in opened:
            ward.ledger.sessions_by_id[user] = session_record(user, container_id=f"new-{user}")


async def test_the_next_session_is_revived_as_soon_as_the_new_container_is_there(ward):
    await ward.add_sessions_at_rest(REVIVALS_AT_ONCE + 1)
    await ward.runner.refresh()
    await settle()
    for number in range(REVIVALS_AT_ONCE + 1):
        ward.runtime.crash(f"c{number}")
    await settle()
    assert len(ward.owners.reopened) == REVIVALS_AT_ONCE
    user, _, _ = ward.owners.reopened[0]
    await ward.add("new", READY, session_id=user, user_id=user)
    await ward.runner.refresh()
    await settle()
    assert len(ward.owners.reopened) == REVIVALS_AT_ONCE + 1  # and no time has passed


async def test_a_session_that_ended_while_others_were_revived_is_not_made_anew(ward):
    await ward.add_sessions_at_rest(REVIVALS_AT_ONCE + 1)
    await ward.runner.refresh()
    await settle()
    for number in range(REVIVALS_AT_ONCE + 1):
        ward.runtime.crash(f"c{number}")
    await settle()
    ward.ledger.sessions_by_id.clear()
    for _ in range(3):
        await ward.round()
    assert len(ward.owners.reopened) == REVIVALS_AT_ONCE


async def test_a_container_that_stops_answering_is_lost_after_the_threshold(ward):
    await ward.add("c1")
    await ward.round()
    ward.runtime.health["c1"] = Health.UNHEALTHY
    for _ in range(2):
        await ward.round(2.5)
    assert ward.ledger.records["c1"].status is ContainerStatus.WARM
    await ward.round(2.5)
    assert ward.ledger.records["c1"].status is ContainerStatus.LOST


async def test_a_probe_that_hangs_counts_as_failed(ward):
    async def hang(handle):
        await asyncio.Event().wait()

    await ward.add("c1")
    await ward.runner.refresh()
    ward.runtime.probe = hang
    ward.runner._services = services(ward.ledger, ward.runtime, ward.clock, probe_timeout=0.001)
    for _ in range(3):
        await ward.round(2.5)
    assert ward.ledger.records["c1"].status is ContainerStatus.LOST


async def test_an_end_that_was_missed_while_nobody_watched_is_noticed(ward):
    await ward.add("c1")
    ward.runtime.crash("c1")
    await ward.runner.refresh()
    await settle()
    assert ward.ledger.records["c1"].status is ContainerStatus.LOST


async def test_a_container_claimed_since_the_last_look_is_reported_to_its_new_owner(ward):
    await ward.add("c1")
    await ward.runner.refresh()
    await settle()
    claimed = ward.ledger.records["c1"].model_copy(
        update={"status": READY, "session_id": "s1", "user_id": "u1"}
    )
    ward.ledger.records["c1"] = claimed
    ward.ledger.sessions_by_id["s1"] = session_record("s1", container_id="c1", owner_actor_id="a1")
    ward.runtime.crash("c1")
    await settle()
    assert [reported[:3] for reported in ward.owners.reported] == [("a1", "s1", "c1")]


async def test_a_stopped_container_is_no_longer_watched(ward):
    await ward.add("c1")
    await ward.runner.refresh()
    await settle()
    await ward.ledger.remove_container("c1")
    await ward.runner.refresh()
    ward.runtime.crash("c1")
    await settle()
    assert ward.runner.stats()["containers_watched"] == 0
    assert ward.runner.stats()["exits_total"] == 0


async def test_a_new_process_learns_the_health_of_what_was_there(ward):
    await ward.add("c1")
    ward.ledger.records["c1"] = ward.ledger.records["c1"].model_copy(
        update={"health": Health.UNKNOWN}
    )
    await ward.round()
    await ward.round(2.5)
    assert ward.ledger.records["c1"].health is Health.HEALTHY
