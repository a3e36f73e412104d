"""Requests about many long paths come in parts that CODI takes."""

from __future__ import annotations

import json

from cluster.codi.agent.exchange import MAX_JSON
from cluster.codi.feed_client import _groups


def test_long_paths_are_asked_for_in_several_requests():
    paths = ["/".join(["d"] * level) for level in range(1, 2001)] + ["\udcff" * 4000] * 100
    groups = list(_groups(paths))
    assert [path for group in groups for path in group] == paths
    assert len(groups) > 1
    for group in groups:
        assert len(json.dumps({"paths": group})) < MAX_JSON


def test_a_path_that_fills_a_request_has_one_of_its_own():
    assert list(_groups(["x" * (2 << 20), "y"])) == [["x" * (2 << 20)], ["y"]]


def test_few_paths_are_one_request():
    assert list(_groups(["a", "b"])) == [["a", "b"]]
