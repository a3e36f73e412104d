"""What is said of Cloud Run before a server starts, and while it runs."""

from __future__ import annotations

import pytest

from cluster.doctor import checks
from cluster.doctor.checks import Verdict
from cluster.runtime.cloud_run.notes import RoomFile, directory
from cluster.settings import Settings
from cluster.wiring.cloud_run_room import room_left
from serve_app.telemetry.exposition import expose


@pytest.mark.parametrize(
    ("used", "may_pass", "verdict"),
    [
        (3, False, Verdict.OK),
        (1000, False, Verdict.WARNING),
        ("UNAVAILABLE", True, Verdict.WARNING),
        ("PERMISSION_DENIED", False, Verdict.ERROR),
    ],
)
def test_a_place_is_judged_by_what_it_says(used, may_pass, verdict):
    check = checks.cloud_run("p/r", used, 1000, may_pass=may_pass)
    assert (check.verdict, str(used) in check.found) == (verdict, True)
    assert bool(check.advice) == (verdict is not Verdict.OK)


def test_the_room_that_is_left_is_shown_for_each_place_that_was_counted(tmp_path):
    places = "project-a/europe-west1,project-b/us-east1"
    settings = Settings(runtime="cloud_run", data_dir=tmp_path, cloud_run_places=places)
    assert room_left(settings) == {}
    RoomFile(directory(tmp_path)).write({"project-a/europe-west1": 990, "gone/us-east1": 3})
    left = room_left(settings)
    assert left == {"project-a/europe-west1": 10}
    text = expose({}, {}, {}, active_containers=0, cloud_run=left)
    assert 'coditect_cloud_run_room{place="project-a/europe-west1"} 10.0' in text
    assert room_left(Settings(data_dir=tmp_path, cloud_run_places=places)) == {}
