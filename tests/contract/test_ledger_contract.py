"""The contract of ledgers: the fake that the actors are tested with, and the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.core.errors.limits import ContainersExceeded, TooManyRequests
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import ActorTaken, Fenced, SlotGone
from actors.core.names import DEFAULT_SESSION
from actors.core.ports.ledger import ClaimRequest, Ledger
from actors.core.quotas import Quotas
from actors.core.records.containers import ContainerStatus, Health
from actors.core.records.idleness import Idleness
from actors.core.records.sessions import Claim, SessionPhase
from tests.fakes.ledgers import ALL_LEDGERS, opened
from tests.fakes.pool_fakes import ManualClock, container_record

NOW = 1000.0


@pytest.fixture(params=ALL_LEDGERS)
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(request.param, tmp_path, ManualClock(NOW)) as made:
        yield made


async def claim(ledger: Ledger, **changes) -> Claim:
    fields = {
        "user_id": "u1",
        "name": "main",
        "new_session_id": "s1",
        "new_workspace_id": "w1",
        "actor_id": "a1",
        "node_id": "node-1",
        "container_id": None,
        "now": NOW,
    }
    if "new_session_id" in changes:  # an actor owns one session
        fields["actor_id"] = f"a-{changes['new_session_id']}"
    return await ledger.claim(ClaimRequest(**(fields | changes)))


# ---- claims -------------------------------------------------------------------------------------


async def test_a_first_claim_creates_the_session_and_makes_the_actor_its_owner(ledger):
    made = await claim(ledger)
    assert made.created
    assert made.won
    assert made.session.phase is SessionPhase.STARTING
    assert made.session.workspace_id == "w1"
    assert await ledger.session("s1") == made.session
    assert await ledger.session_of_user("u1", "main") == made.session
    assert await ledger.bound_session("a1") == made.session
    assert await ledger.sessions() == [made.session]


async def test_sessions_are_read_by_their_ids_as_far_as_they_are_there(ledger):
    first = (await claim(ledger)).session
    second = (await claim(ledger, name="b", new_session_id="s2", new_workspace_id="w2")).session
    await claim(ledger, name="c", new_session_id="s3", new_workspace_id="w3")
    found = await ledger.sessions_by_id(["s2", "gone", "s1"])
    assert found == {"s1": first, "s2": second}
    assert await ledger.sessions_by_id([]) == {}


async def test_a_new_session_takes_its_warm_container_and_its_workspace_over(ledger):
    await ledger.put_container(container_record("c1"))
    made = await claim(ledger, container_id="c1")
    assert made.session.container_id == "c1"
    assert made.session.workspace_id == "w-c1"
    container = await ledger.container("c1")
    assert container is not None
    assert container.status is ContainerStatus.READY
    assert (container.session_id, container.user_id) == ("s1", "u1")


@pytest.mark.parametrize("status", [None, ContainerStatus.READY, ContainerStatus.STOPPING])
async def test_a_container_that_is_not_warm_cannot_be_claimed_and_nothing_is_created(
    ledger, status
):
    if status is not None:
        await ledger.put_container(container_record("c1", status))
    with pytest.raises(SlotGone):
        await claim(ledger, container_id="c1")
    assert await ledger.session("s1") is None
    assert await ledger.bound_session("a1") is None


async def test_without_an_actor_a_new_session_is_at_rest_with_its_container(ledger):
    await ledger.put_container(container_record("c1"))
    made = await claim(ledger, actor_id=None, container_id="c1")
    session = made.session
    assert (made.created, session.phase, session.epoch) == (True, SessionPhase.READY, 1)
    assert (session.owner_actor_id, session.owner_node_id) == (None, None)
    assert made.container == await ledger.container("c1")
    assert await ledger.serving("s1") == (session, made.container)


async def test_without_an_actor_a_session_that_is_there_is_returned_as_it_is(ledger):
    await ledger.put_container(container_record("c1"))
    first = await claim(ledger, actor_id=None, container_id="c1")
    await ledger.put_container(container_record("c2"))
    again = await claim(ledger, actor_id=None, container_id="c2", new_session_id="s2")
    assert (again.session, again.created, again.won) == (first.session, False, False)
    found = await ledger.container("c2")
    assert found is not None
    assert found.status is ContainerStatus.WARM
    owned = await claim(ledger, actor_id="a1", container_id=None)
    assert (owned.won, owned.session.epoch, owned.container) == (True, 2, first.container)


async def test_without_an_actor_or_a_container_the_default_session_sleeps(ledger):
    await ledger.put_container(container_record("c1"))
    await claim(ledger, name="other", quotas=Quotas(containers=1), container_id="c1")
    await ledger.put_container(container_record("c2"))
    made = await claim(
        ledger,
        name="default",
        actor_id=None,
        new_session_id="s2",
        container_id="c2",
        quotas=Quotas(containers=1),
    )
    assert (made.session.phase, made.container) == (SessionPhase.HIBERNATED, None)


async def test_who_nobody_owns_is_changed_without_an_owner_once_a_key(ledger):
    await ledger.put_container(container_record("c1"))
    at_rest = (await claim(ledger, actor_id=None, container_id="c1")).session

    def more(record):
        return record.model_copy(update={"restarts": record.restarts + 1})

    for _ in range(2):
        changed = await ledger.change_at_rest("s1", more, key="k1")
        assert (changed.restarts, changed.epoch) == (1, at_rest.epoch)
    changes = [ledger.change_at_rest("s1", more, key=f"n{number}") for number in range(4)]
    await asyncio.gather(*changes)
    assert (await ledger.session("s1")).restarts == 5
    await claim(ledger)
    assert await ledger.change_at_rest("s1", more, key="k2") is None
    assert (await ledger.session("s1")).restarts == 5
    with pytest.raises(NotFound):
        await ledger.change_at_rest("s-none", more, key="k3")


async def test_an_actor_that_owns_a_session_gets_no_other(ledger):
    """A claim whose answer was lost may be committed when its actor counts as free again."""
    first = (await claim(ledger)).session
    rested = (await claim(ledger, name="b", new_session_id="s2", new_workspace_id="w2")).session
    await ledger.passivate(rested)
    for name, session_id in (("b", "s2"), ("c", "s3")):
        with pytest.raises(ActorTaken):
            await claim(ledger, name=name, new_session_id=session_id, actor_id="a1")
    assert await ledger.bound_session("a1") == first
    assert await ledger.session("s3") is None
    await ledger.passivate(first)
    assert (await claim(ledger, name="b", actor_id="a1")).won


async def test_a_claim_that_means_one_session_makes_no_other(ledger):
    with pytest.raises(NotFound):
        await claim(ledger, session_id="s1")
    assert await ledger.session("s1") is None
    first = await claim(ledger)
    await ledger.end_session(first.session)
    await claim(ledger, new_session_id="s2")
    with pytest.raises(NotFound):
        await claim(ledger, actor_id="a2", dead_actor_id="a1", session_id="s1")
    assert (await claim(ledger, session_id="s2", actor_id="a1")).session.session_id == "s2"


async def test_the_first_note_of_a_loss_stands(ledger):
    await ledger.put_container(container_record("c1"))
    for now in (5.0, 9.0):
        await ledger.note_loss("c1", now)
    await ledger.note_loss("c-none", 1.0)
    assert (await ledger.container("c1")).lost_at == 5.0


async def test_a_loss_that_was_none_is_forgotten_and_the_next_one_noted(ledger):
    await ledger.put_container(container_record("c1"))
    await ledger.note_loss("c1", 5.0)
    for container_id in ("c1", "c1", "c-none"):
        await ledger.withdraw_loss(container_id)
    assert (await ledger.container("c1")).lost_at is None
    await ledger.note_loss("c1", 9.0)
    assert (await ledger.container("c1")).lost_at == 9.0


async def test_nothing_serves_a_session_that_is_not_there(ledger):
    assert await ledger.serving("s1") is None
    session = (await claim(ledger)).session
    assert await ledger.serving("s1") == (session, None)


async def test_use_is_noted_beside_the_record_and_ends_with_the_session(ledger):
    session = (await claim(ledger)).session
    [before] = await ledger.activity_of([session])
    assert (before.save_version, before.last_activity) == (0, session.last_activity)
    await ledger.note_activity(["s1", "s-gone"], session.last_activity + 60)
    [after] = await ledger.activity_of([session])
    assert after.last_activity == session.last_activity + 60
    assert await ledger.session("s1") == session
    await ledger.end_session(session)
    assert (await ledger.activity_of([session]))[0].last_activity == session.last_activity


async def test_the_same_claim_again_finds_what_the_first_made(ledger):
    first = await claim(ledger)
    again = await claim(ledger, new_session_id="s2", actor_id="a1")
    assert (again.created, again.won) == (False, True)
    assert again.session.session_id == first.session.session_id
    assert again.session.epoch > first.session.epoch


async def test_a_claim_of_an_owned_session_is_lost_and_names_the_owner(ledger):
    first = await claim(ledger)
    other = await claim(ledger, actor_id="a2", new_session_id="s2")
    assert not other.won
    assert not other.created
    assert other.session == first.session
    assert await ledger.bound_session("a2") is None


async def test_a_claim_takes_a_session_from_a_dead_owner_under_a_new_epoch(ledger):
    first = (await claim(ledger)).session
    taken = await claim(ledger, actor_id="a2", dead_actor_id="a1")
    assert taken.won
    assert taken.session.epoch > first.epoch
    assert await ledger.bound_session("a1") is None
    with pytest.raises(Fenced):
        await ledger.save_session(first)


async def test_of_many_claims_at_once_one_creates_and_one_owns(ledger):
    claims = await asyncio.gather(
        *(claim(ledger, actor_id=f"a{n}", new_session_id=f"s{n}") for n in range(8))
    )
    assert sum(made.created for made in claims) == 1
    assert sum(made.won for made in claims) == 1
    assert len({made.session.session_id for made in claims}) == 1


async def test_of_sessions_claimed_at_once_no_more_are_made_than_a_user_may_have(ledger):
    claims = await asyncio.gather(
        *(
            claim(
                ledger,
                name=f"n{n}",
                actor_id=f"a{n}",
                new_session_id=f"s{n}",
                quotas=Quotas(sessions=4),
            )
            for n in range(8)
        ),
        return_exceptions=True,
    )
    refused = [made for made in claims if isinstance(made, TooManyRequests)]
    assert (len(claims) - len(refused), len(refused)) == (3, 5)
    assert len(await ledger.sessions()) == 3
    signed_in = await claim(
        ledger, name=DEFAULT_SESSION, actor_id="a9", new_session_id="s9", quotas=Quotas(sessions=4)
    )
    assert signed_in.created, "a place is kept for the session that signing in opens"


async def test_a_session_that_is_there_is_claimed_also_past_the_limit(ledger):
    first = await claim(ledger)
    await ledger.passivate(first.session)
    assert (await claim(ledger, quotas=Quotas(sessions=1))).won
    with pytest.raises(TooManyRequests):
        await claim(ledger, name="other", new_session_id="s2", quotas=Quotas(sessions=1))
    assert (
        await claim(ledger, user_id="u2", new_session_id="s3", quotas=Quotas(sessions=2))
    ).created


async def test_a_warm_container_is_claimed_once(ledger):
    await ledger.put_container(container_record("c1"))
    outcomes = await asyncio.gather(
        *(
            claim(
                ledger,
                user_id=f"u{n}",
                actor_id=f"a{n}",
                new_session_id=f"s{n}",
                container_id="c1",
            )
            for n in range(6)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Claim) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, SlotGone) for outcome in outcomes) == 5


# ---- ownership ----------------------------------------------------------------------------------


async def test_activating_raises_the_epoch_and_fences_the_one_before(ledger):
    first = (await claim(ledger)).session
    second = await ledger.activate(
        "s1", actor_id="a1", node_id="node-1", now=NOW, dead_actor_id="a1"
    )
    assert second.epoch == first.epoch + 1
    for write in (
        ledger.save_session(first),
        ledger.new_container_epoch(first),
        ledger.passivate(first),
        ledger.end_session(first),
    ):
        with pytest.raises(Fenced):
            await write
    assert await ledger.session("s1") == second


async def test_nobody_activates_what_another_actor_owns_or_what_is_not_there(ledger):
    await claim(ledger)
    with pytest.raises(Fenced):
        await ledger.activate("s1", actor_id="a2", node_id="n", now=NOW, dead_actor_id="a9")
    with pytest.raises(NotFound):
        await ledger.activate("s9", actor_id="a2", node_id="n", now=NOW, dead_actor_id=None)


async def test_a_lease_that_is_renewed_meanwhile_keeps_its_owner(ledger):
    made = await claim(ledger)
    seen = await ledger.lease("s1")
    await ledger.renew_lease(made.session, 1)
    assert await ledger.lease("s1") != seen
    assert not (await claim(ledger, actor_id="a2", dead_actor_id="a1", lapsed=seen)).won
    with pytest.raises(Fenced):
        await ledger.activate(
            "s1", actor_id="a2", node_id="n", now=NOW, dead_actor_id="a1", lapsed=seen
        )
    with pytest.raises(Fenced):
        await ledger.activate(
            "s1", actor_id="a1", node_id="n", now=NOW, dead_actor_id="a1", lapsed=seen
        )
    assert await ledger.session("s1") == made.session


async def test_ownership_is_taken_from_a_silent_owner_only_while_its_lease_stays_the_same(ledger):
    made = await claim(ledger)
    seen = await ledger.lease("s1")
    await ledger.renew_lease(made.session, 1)
    with pytest.raises(Fenced):
        await ledger.passivate(made.session, lapsed=seen)
    assert await ledger.session("s1") == made.session
    await ledger.passivate(made.session, lapsed=await ledger.lease("s1"))
    assert (await ledger.session("s1")).owner_actor_id is None


async def test_a_lease_that_stays_the_same_is_lost_with_the_session(ledger):
    made = await claim(ledger)
    await ledger.renew_lease(made.session, 1)
    seen = await ledger.lease("s1")
    taken = await claim(ledger, actor_id="a2", dead_actor_id="a1", lapsed=seen)
    assert taken.won
    assert taken.session.epoch == made.session.epoch + 1
    assert await ledger.lease("s1") != seen
    with pytest.raises(Fenced):
        await ledger.renew_lease(made.session, 2)
    await ledger.end_session(taken.session)
    with pytest.raises(Fenced):
        await ledger.renew_lease(taken.session, 3)


async def test_a_passive_session_has_no_lease_to_wait_for(ledger):
    made = await claim(ledger)
    seen = await ledger.lease("s1")
    await ledger.renew_lease(made.session, 1)
    await ledger.passivate(made.session)
    taken = await claim(ledger, actor_id="a2", dead_actor_id="a1", lapsed=seen)
    assert taken.won


async def test_nobody_gives_ownership_back_over_a_save_that_he_has_not_seen(ledger):
    seen = (await claim(ledger)).session
    patched = {"workspace_state": {"a": 1}, "revision": seen.revision + 1}
    await ledger.save_session(seen.model_copy(update=patched))
    with pytest.raises(Fenced):
        await ledger.passivate(seen)
    assert (await ledger.session("s1")).workspace_state == {"a": 1}


async def test_a_passive_session_keeps_its_state_and_has_no_owner(ledger):
    record = (await claim(ledger)).session
    await ledger.passivate(record.model_copy(update={"workspace_state": {"a": 1}}))
    passive = await ledger.session("s1")
    assert passive is not None
    assert passive.owner_actor_id is None
    assert passive.workspace_state == {"a": 1}
    assert await ledger.bound_session("a1") is None
    with pytest.raises(Fenced):
        await ledger.save_session(record)
    again = await claim(ledger, actor_id="a2")
    assert again.won
    assert not again.created
    assert again.session.epoch > record.epoch


async def test_a_new_container_epoch_is_one_more_and_rules_from_then_on(ledger):
    record = (await claim(ledger)).session
    raised = await ledger.new_container_epoch(record)
    assert raised.epoch == record.epoch + 1
    assert await ledger.session("s1") is not None
    with pytest.raises(Fenced):
        await ledger.save_session(record)
    await ledger.save_session(raised)


# ---- saves --------------------------------------------------------------------------------------


async def test_a_save_is_read_back(ledger):
    record = (await claim(ledger)).session
    saved = await ledger.save_session(record.model_copy(update={"workspace_state": {"a": [1]}}))
    assert await ledger.session("s1") == saved
    assert saved.workspace_state == {"a": [1]}


async def test_the_same_save_again_answers_the_same_and_writes_nothing(ledger):
    record = (await claim(ledger)).session
    one = record.model_copy(update={"restarts": 1})
    first = await ledger.save_session(one, key="save:x")
    second = await ledger.save_session(first.model_copy(update={"restarts": 2}), key="save:y")
    again = await ledger.save_session(second.model_copy(update={"restarts": 3}), key="save:x")
    assert again == second
    assert await ledger.session("s1") == second


# ---- ending -------------------------------------------------------------------------------------


async def test_an_ended_session_frees_its_name_and_its_owner_and_ends_once(ledger):
    record = (await claim(ledger)).session
    await ledger.end_session(record)
    await ledger.end_session(record)
    assert await ledger.session_of_user("u1", "main") is None
    assert await ledger.bound_session("a1") is None
    assert await ledger.sessions() == []
    with pytest.raises(Fenced):
        await ledger.save_session(record)
    anew = await claim(ledger, new_session_id="s2")
    assert anew.created


async def test_an_end_that_leaves_a_workspace_notes_it_until_it_is_removed(ledger):
    record = (await claim(ledger)).session
    await ledger.end_session(record, left_on="node-1")
    await ledger.end_session(record, left_on="node-2")  # the second end ends nothing
    assert await ledger.left_workspaces("node-1") == {"w1": NOW}
    assert await ledger.left_workspaces("node-2") == {}
    await ledger.forget_workspace("node-1", "w1")
    await ledger.forget_workspace("node-1", "w1")
    assert await ledger.left_workspaces("node-1") == {}


async def test_an_end_that_is_refused_notes_no_workspace(ledger):
    record = (await claim(ledger)).session
    await ledger.passivate(record)
    with pytest.raises(Fenced):
        await ledger.end_session(record, left_on="node-1")
    assert await ledger.left_workspaces("node-1") == {}


async def test_sessions_are_listed_in_pages_by_id(ledger):
    for n in (2, 0, 1):
        await claim(ledger, user_id=f"u{n}", actor_id=f"a{n}", new_session_id=f"s{n}")
    first = await ledger.sessions(limit=2)
    assert [record.session_id for record in first] == ["s0", "s1"]
    assert [r.session_id for r in await ledger.sessions(after="s1", limit=2)] == ["s2"]


# ---- containers ---------------------------------------------------------------------------------


async def test_a_containers_status_changes_only_from_what_was_expected(ledger):
    await ledger.put_container(container_record("c1"))
    assert await ledger.set_container_status(
        "c1", ContainerStatus.STOPPING, expected=[ContainerStatus.WARM], health=Health.UNHEALTHY
    )
    assert not await ledger.set_container_status(
        "c1", ContainerStatus.READY, expected=[ContainerStatus.WARM]
    )
    assert not await ledger.set_container_status(
        "c9", ContainerStatus.READY, expected=[ContainerStatus.WARM]
    )
    container = await ledger.container("c1")
    assert container is not None
    assert (container.status, container.health) == (ContainerStatus.STOPPING, Health.UNHEALTHY)


async def test_containers_are_listed_without_the_stopped_ones(ledger):
    await ledger.put_container(container_record("c1"))
    await ledger.put_container(container_record("c2", node_id="node-2"))
    await ledger.put_container(container_record("c3", ContainerStatus.STOPPED))
    assert {c.container_id for c in await ledger.containers()} == {"c1", "c2"}


async def test_removing_a_container_is_idempotent(ledger):
    await ledger.put_container(container_record("c1", user_id="u1"))
    await ledger.remove_container("c1")
    await ledger.remove_container("c1")
    assert await ledger.container("c1") is None


# ---- idleness -----------------------------------------------------------------------------------


async def test_what_is_reported_of_idleness_goes_with_its_session(ledger):
    reported = Idleness(
        session_id="s1", awake_because=("input",), signals=("input",), updated_at=NOW
    )
    assert await ledger.record_idleness(reported) is None, "there is no such session"
    record = (await claim(ledger)).session
    assert await ledger.idleness("s1") is None
    assert await ledger.record_idleness(reported) == reported
    assert await ledger.idleness("s1") == reported
    await ledger.end_session(record)
    assert await ledger.idleness("s1") is None


# ---- quotas -------------------------------------------------------------------------------------


def running(container_id: str, session_id: str, status=ContainerStatus.READY, user_id="u1"):
    return container_record(container_id, status, session_id=session_id, user_id=user_id)


async def test_a_new_session_is_refused_while_others_have_all_containers_and_names_them(ledger):
    await ledger.put_container(container_record("c1"))
    await ledger.put_container(container_record("c2"))
    quotas = Quotas(containers=1)
    assert (await claim(ledger, container_id="c1", quotas=quotas)).created
    other = {"name": "other", "actor_id": "a2", "new_session_id": "s2", "container_id": "c2"}
    with pytest.raises(ContainersExceeded) as refused:
        await claim(ledger, **other, quotas=quotas)
    assert (refused.value.used, refused.value.limit) == (1, 1)
    assert refused.value.sessions == ("main",)
    assert await ledger.session("s2") is None
    assert (await ledger.container("c2")).status is ContainerStatus.WARM
    await ledger.remove_container("c1")
    assert (await claim(ledger, **other, quotas=quotas)).session.container_id == "c2"


async def test_the_default_session_is_made_without_a_container_when_none_is_left(ledger):
    await ledger.put_container(container_record("c1"))
    await ledger.put_container(running("c0", "s0"))
    made = await claim(ledger, name=DEFAULT_SESSION, container_id="c1", quotas=Quotas(containers=1))
    assert made.created
    assert made.session.container_id is None
    assert (await ledger.container("c1")).status is ContainerStatus.WARM


async def test_a_container_is_recorded_only_within_the_quota_its_sessions_own_aside(ledger):
    quotas = Quotas(containers=1)
    made = await claim(ledger)
    await ledger.put_container(running("c1", "s1", ContainerStatus.STARTING), quotas=quotas)
    await ledger.put_container(running("c2", "s1", ContainerStatus.STARTING), quotas=quotas)
    with pytest.raises(ContainersExceeded):
        await ledger.put_container(running("c3", "s3"), quotas=quotas)
    assert await ledger.container("c3") is None
    await ledger.put_container(running("c4", "s4", user_id="u2"), quotas=quotas)
    await ledger.require_container(made.session, quotas)
    third = made.session.model_copy(update={"session_id": "s3"})
    with pytest.raises(ContainersExceeded):
        await ledger.require_container(third, quotas)
    for container_id in ("c1", "c2"):
        await ledger.set_container_status(
            container_id, ContainerStatus.LOST, expected=[ContainerStatus.STARTING]
        )
    await ledger.require_container(third, quotas)
    await ledger.require_container(third, Quotas())


async def test_of_two_that_ask_for_the_last_container_at_once_one_gets_it(ledger):
    answers = await asyncio.gather(
        *(
            ledger.put_container(running(f"c{n}", f"s{n}"), quotas=Quotas(containers=1))
            for n in range(4)
        ),
        return_exceptions=True,
    )
    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, ContainersExceeded) for answer in answers) == 3
