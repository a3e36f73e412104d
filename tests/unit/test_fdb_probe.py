"""What ``coditect doctor`` says of FoundationDB."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster import fdb_probe, settings
from tests.fakes.engines import CLUSTER_VARIABLE


def chosen(cluster_file: str | Path) -> settings.Settings:
    return settings.load(
        {"store": "foundationdb", "store_fdb_cluster_file": str(cluster_file)},
        environment={},
        directory=Path.cwd(),
    )


def test_a_missing_cluster_file_is_said(tmp_path):
    assert "absent.cluster" in (fdb_probe.failure(chosen(tmp_path / "absent.cluster")) or "")


def test_a_client_that_is_missing_or_a_cluster_that_does_not_answer_is_said(tmp_path):
    (tmp_path / "fdb.cluster").write_text("test:test@127.0.0.1:1\n")
    said = fdb_probe.failure(chosen(tmp_path / "fdb.cluster"))
    assert said is not None
    assert "store is unavailable" in said


def test_what_takes_too_long_is_given_up(tmp_path):
    assert fdb_probe.failure(chosen(tmp_path / "fdb.cluster"), 0.0) == "no answer within 0 s"


@pytest.mark.fdb
def test_a_cluster_that_answers_is_well():
    named = os.environ.get(CLUSTER_VARIABLE)
    if not named:
        pytest.skip(f"{CLUSTER_VARIABLE} does not name a FoundationDB cluster file")
    assert fdb_probe.failure(chosen(named)) is None
