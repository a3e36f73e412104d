"""Names, places, and what is concluded from what Cloud Run says."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.records.containers import ContainerSpec
from cluster.cloud_run_options import Place, SecretReference, parse_places, parse_secrets
from cluster.runtime.cloud_run import names, service_spec
from cluster.runtime.cloud_run.operations import Outcome, Phase, outcome, phase
from cluster.runtime.cloud_run.placement import LONGEST_PAUSE, Placement, place_of
from cluster.runtime.cloud_run.service_spec import Ingress, Rules

A, B = Place("project-a", "europe-west1"), Place("project-b", "us-east1")
RULES = Rules(node_id="n-1", service_account="none@p.iam", network="net/sub")


def spec(**changes):
    fields = {"container_id": "c-1", "tenant_id": "t", "workspace_id": "w-1", "secret": "hidden"}
    return ContainerSpec(**(fields | changes))


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=80), st.none() | st.text(max_size=80))
def test_any_name_is_one_that_cloud_run_takes(container_id, user_id):
    name = names.service_name(container_id, "s", user_id)
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 49
    assert name.startswith("user-" if user_id is not None else "warm-")


def test_names_of_two_containers_differ_and_show_the_user():
    one, other = (names.service_name(c, "s", "u-Anna.Ek") for c in ("c-1", "c-2"))
    assert one != other
    assert one.startswith("user-u-anna-ek-")
    assert names.service_name("c-1", "another", "u-Anna.Ek") != one


@given(st.text(min_size=1, max_size=200))
def test_any_label_is_one_that_cloud_run_takes(value):
    assert re.fullmatch("[a-z0-9_-]{1,63}", names.label(value))


def test_ids_that_differ_have_labels_that_differ():
    assert len({names.label(v) for v in ("c-a", "c-A", "c.a", "c-a" * 40, "c-a" * 41)}) == 5


def test_containers_spread_by_the_room_that_is_left():
    placement = Placement([A, B], limit=100, writes=10_000)
    placement.counted(A, 75)
    placement.counted(B, 25)
    chosen = Counter(placement.choose(f"c-{i}", 0.0) for i in range(2000))
    assert 0.2 < chosen[A] / 2000 < 0.3
    assert placement.room() == {A: 25, B: 75}


def test_a_full_place_takes_nothing_and_with_all_full_there_is_nothing_to_wait_for():
    placement = Placement([A, B], limit=1, writes=100)
    for _ in range(2):
        place = placement.choose("c", 0.0)
        placement.began(place, 0.0)
    assert placement.choose("c", 0.0) is None
    assert placement.wait(0.0) is None
    placement.ended(A, 1.0)
    assert placement.choose("c", 1.0) == A


def test_a_place_that_refuses_is_left_alone_for_longer_and_longer():
    placement = Placement([A], limit=10, writes=10_000)
    now, pauses = 0.0, []
    for _ in range(10):
        placement.began(A, now)
        placement.refused(A, now)
        assert placement.choose("c", now) is None
        assert placement.blocked(now) == [A]
        pauses.append(placement.wait(now))
        now += pauses[-1]
        assert placement.choose("c", now) == A
    assert pauses[:3] == [2.0, 4.0, 8.0]
    assert pauses[-1] == LONGEST_PAUSE
    assert placement.room() == {A: 10}
    placement.accepted(A)
    placement.refused(A, now)
    assert placement.wait(now) == 2.0


def test_writes_are_bounded_by_the_minute_removals_too():
    placement = Placement([A], limit=100, writes=3)
    placement.began(A, 0.0)
    placement.began(A, 10.0)
    placement.ended(A, 20.0)
    assert placement.choose("c", 21.0) is None
    assert placement.wait(21.0) == 39.0
    assert placement.choose("c", 60.0) == A


def test_lists_of_places_and_secrets_are_read_or_refused():
    assert parse_places("project-a/europe-west1, project-b/us-east1,") == (A, B)
    assert parse_secrets("A=one:3,B=two") == (
        SecretReference("A", "one", "3"),
        SecretReference("B", "two", "latest"),
    )
    for bad in ("project-a", "Project/europe-west1", "project-a/Europe", "a/b/c"):
        with pytest.raises(ValueError, match="PROJECT/REGION"):
            parse_places(bad)
    for bad in ("A", "A=b c", "1=x", "USER_ID=x", "A=b:new"):
        with pytest.raises(ValueError, match="SECRET"):
            parse_secrets(bad)


def test_a_resource_says_where_it_is():
    assert place_of(f"{A.parent}/services/user-x") == A


def test_a_service_is_one_instance_of_nobodys_rights_and_shows_no_secret():
    document = service_spec.service(spec(user_id="u-1"), RULES)
    template = document["template"]
    assert template["scaling"] == {"min_instance_count": 0, "max_instance_count": 1}
    assert template["service_account"] == "none@p.iam"
    assert template["timeout"] == {"seconds": 3600}
    assert template["execution_environment"].endswith("GEN2")
    assert template["vpc_access"]["egress"] == "ALL_TRAFFIC"
    assert template["vpc_access"]["network_interfaces"][0]["subnetwork"] == "sub"
    assert document["invoker_iam_disabled"] is False
    container = template["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "4Gi"}
    assert container["startup_probe"]["tcp_socket"] == {"port": 8080}
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert env["USER_ID"] == "u-1"
    config = json.loads(env["CODI_CONFIG"])
    assert config["secret_digest"] == names.secret_digest("hidden")
    assert config["volatile"] is True
    assert '"hidden"' not in json.dumps(document)


def test_a_warm_service_keeps_its_instance_and_has_no_user():
    template = service_spec.service(spec(), RULES)["template"]
    assert template["scaling"]["min_instance_count"] == 1
    assert "USER_ID" not in {each["name"] for each in template["containers"][0]["env"]}


def test_rules_of_the_operator_stand_in_the_definition():
    rules = Rules(
        node_id="n-1",
        service_account="s@p",
        network="net",
        ingress=Ingress.INTERNAL,
        fdb_cluster="prod",
        secrets=(SecretReference("TOKEN", "token", "2"),),
    )
    document = service_spec.instance(spec(memory_bytes=(1 << 30) + 1), rules)
    assert document["ingress"] == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert "subnetwork" not in document["vpc_access"]["network_interfaces"][0]
    container = document["containers"][0]
    assert container["resources"]["limits"]["memory"] == "1025Mi"
    env = {each["name"]: each for each in container["env"]}
    assert env["FDB_CLUSTER"]["value"] == "prod"
    reference = env["TOKEN"]["value_source"]["secret_key_ref"]
    assert reference == {"secret": "token", "version": "2"}


@pytest.mark.parametrize(
    ("state", "uri", "flags", "expected"),
    [
        ("CONDITION_SUCCEEDED", "https://a", {}, Phase.READY),
        ("CONDITION_SUCCEEDED", "", {}, Phase.PENDING),
        ("CONDITION_SUCCEEDED", "https://a", {"reconciling": True}, Phase.PENDING),
        ("CONDITION_RECONCILING", "https://a", {}, Phase.PENDING),
        ("CONDITION_FAILED", "https://a", {}, Phase.FAILED),
        ("CONDITION_SUCCEEDED", "https://a", {"deleting": True}, Phase.DELETING),
    ],
)
def test_a_resource_is_ready_when_its_condition_and_address_say_so(state, uri, flags, expected):
    assert phase(state, uri, **({"deleting": False, "reconciling": False} | flags)) is expected


def test_a_call_that_timed_out_may_have_done_its_work():
    assert outcome("DEADLINE_EXCEEDED") is Outcome.UNKNOWN
    assert outcome("UNAVAILABLE") is Outcome.UNKNOWN
    assert outcome("RESOURCE_EXHAUSTED") is Outcome.EXHAUSTED
    assert outcome("PERMISSION_DENIED") is Outcome.REFUSED
