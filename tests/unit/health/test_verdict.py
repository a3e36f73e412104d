"""Verdicts over probes and exits, and what follows from them."""

from dataclasses import replace

import pytest

from actors.core.records.containers import ContainerStatus, Health
from actors.health.verdict import (
    HealthRules,
    MarkHealth,
    MarkLost,
    ReportLoss,
    Revive,
    Vitals,
    decide,
    exited,
    is_due,
    probed,
    reported,
    scheduled,
)
from tests.fakes.pool_fakes import container_record, session_record

RULES = HealthRules(probe_interval=2.0, probe_failures=3)
READY = ContainerStatus.READY


def after(*results, start=Health.UNKNOWN):
    vitals = Vitals("c1", health=start)
    for result in results:
        vitals = probed(vitals, result, RULES)
    return vitals


def test_failures_below_the_threshold_change_nothing():
    bad = [Health.UNHEALTHY] * 2
    assert after(Health.HEALTHY, *bad).health is Health.HEALTHY
    assert after(Health.HEALTHY, *bad, Health.HEALTHY, *bad).health is Health.HEALTHY


def test_failures_in_a_row_make_it_unhealthy():
    assert after(*[Health.UNHEALTHY] * 3).health is Health.UNHEALTHY


def test_one_good_probe_is_no_recovery_and_two_are():
    assert after(Health.HEALTHY, start=Health.UNHEALTHY).health is Health.UNHEALTHY
    assert after(Health.HEALTHY, Health.HEALTHY, start=Health.UNHEALTHY).health is Health.HEALTHY
    flapping = [Health.HEALTHY, Health.UNHEALTHY] * 4
    assert after(*flapping, start=Health.UNHEALTHY).health is Health.UNHEALTHY


def test_death_is_for_good():
    dead = exited(Vitals("c1"), "killed by signal 9")
    assert probed(dead, Health.HEALTHY, RULES) == dead
    assert exited(dead, "again") == dead
    assert dead.describe() == "exited: killed by signal 9"
    assert not is_due(dead, 1e9)


def test_a_probe_that_finds_the_process_gone_needs_no_second_one():
    assert after(Health.DEAD).health is Health.DEAD


def test_probes_are_spread_round_their_interval():
    vitals = Vitals("c1")
    times = [scheduled(vitals, 100.0, RULES, chance).next_probe_at for chance in (0.0, 0.5, 1.0)]
    assert times == pytest.approx([101.6, 102.0, 102.4])


@pytest.mark.parametrize(
    ("results", "wait"),
    [
        ([Health.HEALTHY], 10.0),
        ([Health.UNKNOWN], 2.0),
        ([Health.HEALTHY, Health.UNHEALTHY], 2.0),
        ([Health.UNHEALTHY] * 3, 2.0),
        ([Health.UNHEALTHY] * 3 + [Health.HEALTHY], 2.0),
        ([Health.UNHEALTHY] * 3 + [Health.HEALTHY] * 2, 10.0),
    ],
)
def test_one_that_is_not_well_is_probed_again_soon(results, wait):
    rules = HealthRules(probe_interval=10.0, probe_failures=3)
    assert scheduled(after(*results), 0.0, rules, 0.5).next_probe_at == wait


def test_a_probe_is_never_later_than_was_asked_for():
    rules = HealthRules(probe_interval=0.5, probe_failures=3)
    assert scheduled(after(Health.UNHEALTHY), 0.0, rules, 0.5).next_probe_at == 0.5


DEAD = exited(Vitals("c1", health=Health.HEALTHY), "killed")


def test_a_lost_warm_container_is_marked_so_that_the_pool_replaces_it():
    action = decide(DEAD, container_record("c1"), None, RULES, 0.0)
    assert action == MarkLost("c1", ContainerStatus.WARM, Health.DEAD, "exited: killed")


def test_the_owner_of_a_lost_container_is_reported_and_reported_again_later():
    record = container_record("c1", READY, session_id="s1", user_id="u1")
    session = session_record("s1", container_id="c1", owner_actor_id="a1")
    action = decide(DEAD, record, session, RULES, 10.0)
    assert action == ReportLoss("c1", "s1", "a1", "exited: killed")
    informed = reported(DEAD, 10.0)
    assert decide(informed, record, session, RULES, 14.9) is None
    assert decide(informed, record, session, RULES, 15.0) == action


def test_a_second_loss_is_reported_at_once_however_short_ago_the_first_was():
    record = container_record("c1", READY, session_id="s1", user_id="u1")
    session = session_record("s1", container_id="c1", owner_actor_id="a1")
    recovered = reported(after(*[Health.UNHEALTHY] * 3), 10.0)
    for result in [Health.HEALTHY] * 2 + [Health.UNHEALTHY] * 3:
        recovered = probed(recovered, result, RULES)
    action = decide(recovered, record, session, RULES, 11.0)
    assert action == ReportLoss("c1", "s1", "a1", "3 probes in a row failed")


def test_a_passive_session_whose_container_is_lost_is_opened_and_again_later():
    record = container_record("c1", READY, session_id="s1", user_id="u1")
    session = session_record("s1", container_id="c1")
    action = decide(DEAD, record, session, RULES, 10.0)
    assert action == Revive("c1", "s1", DEAD.describe(), exited=True)
    informed = reported(DEAD, 10.0)
    assert decide(informed, record, session, RULES, 14.9) is None
    assert decide(informed, record, session, RULES, 15.0) == action


def test_a_container_that_its_session_has_left_is_nobodys_concern():
    record = container_record("c1", READY, session_id="s1", user_id="u1")
    assert decide(DEAD, record, session_record("s1", container_id="c2"), RULES, 0.0) is None
    assert decide(DEAD, record, None, RULES, 0.0) is None


@pytest.mark.parametrize(
    "status", [s for s in ContainerStatus if s not in {ContainerStatus.WARM, READY}]
)
def test_expected_ends_are_no_losses(status):
    assert decide(DEAD, container_record("c1", status), None, RULES, 0.0) is None


def test_a_changed_verdict_is_written_once():
    healthy = Vitals("c1", health=Health.HEALTHY)
    record = container_record("c1", health=Health.UNKNOWN)
    action = decide(healthy, record, None, RULES, 0.0)
    assert action == MarkHealth("c1", ContainerStatus.WARM, Health.HEALTHY)
    assert (
        decide(healthy, record.model_copy(update={"health": Health.HEALTHY}), None, RULES, 0.0)
        is None
    )
    assert decide(replace(healthy, health=Health.UNKNOWN), record, None, RULES, 0.0) is None
