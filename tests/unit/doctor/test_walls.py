"""Findings on the walls between users, for doctor and the operators' page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.doctor.checks import Verdict
from cluster.doctor.walls import WallFacts, lacking, walls

ROOT = WallFacts(
    is_root=True, controllers=frozenset({"memory", "pids", "cpu", "cpuacct"}), disk_size=10 << 30
)
ORDINARY = WallFacts(
    is_root=False, controllers=frozenset(), disk_size=10 << 30, limits_failure="no nsenter"
)


def test_root_has_them_all():
    assert lacking(walls(ROOT)) == []
    assert "10.0 GiB" in {check.name: check.found for check in walls(ROOT)}["container disks"]


def test_an_ordinary_user_is_reported_of_every_one_with_what_it_means_and_the_remedy():
    names = [check.name for check in lacking(walls(ORDINARY))]
    assert names == [
        *("container ids", "agent's id", "mapped mounts", "namespace limits", "terminals"),
        *("memory file systems", "container disks", "memory limit", "cpu limit", "pids limit"),
    ]
    for check in lacking(walls(ORDINARY)):
        assert check.verdict is Verdict.WARNING
        assert len(check.found) > 40
        assert "root" in check.advice


def test_an_ordinary_user_who_can_limit_containers_from_outside_gets_no_warning():
    names = {check.name for check in lacking(walls(replace(ORDINARY, limits_failure=None)))}
    assert not names & {"terminals", "memory file systems"}


@pytest.mark.parametrize(
    ("change", "name", "verdict", "found", "advice"),
    [
        ({"ids_failure": "all are in use"}, "container ids", "error", "in use", "USER_IDS"),
        ({"ids_are_mapped": False}, "mapped mounts", "warning", "change hands", "ext4"),
        ({"disk_failure": "no mkfs"}, "container disks", "warning", "no mkfs", "e2fsprogs"),
        ({"disk_size": 0}, "container disks", "warning", "no limit is set", "CONTAINER_DISK"),
        ({"controllers": frozenset({"pids"})}, "memory limit", "warning", "memory", "Delegate"),
        ({"filtered": False, "machine": "riscv64"}, "seccomp", "warning", "riscv64", "aarch64"),
    ],
)
def test_what_root_lacks_is_reported_too(change, name, verdict, found, advice):
    judged = {check.name: check for check in walls(replace(ROOT, **change))}[name]
    assert judged.verdict == verdict
    assert found in judged.found
    assert advice in judged.advice
