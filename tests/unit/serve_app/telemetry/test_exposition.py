"""All metrics as one text."""

from __future__ import annotations

import shutil
import subprocess

from prometheus_client.parser import text_string_to_metric_families

from actors.core.statistics import Histogram
from serve_app.telemetry.exposition import expose
from serve_app.telemetry.metrics import IngressMetrics
from tests.support.promlint import lint


async def test_metrics_have_the_adrs_names_and_parse(rig, ada, session_id):
    await ada.session(session_id)
    answer = await rig.http().get("/api/admin/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {
        "container_launch_time",
        "session_recovery_time",
        "active_containers",
        "pool_utilization",
        "api_response_time",
        "error_rate",
    } <= families.keys()
    routes = {s.labels["route"] for s in families["api_response_time"].samples}
    assert "/api/v1/sessions/{session_id}" in routes


async def test_metrics_pass_the_linter_of_prometheus(rig, ada, session_id):
    await ada.session(session_id)
    text = (await rig.http().get("/api/admin/metrics")).text
    assert lint(text) == []
    if promtool := shutil.which("promtool"):
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_the_exposition_adds_replicas_up_and_parses():
    first, second = IngressMetrics(), IngressMetrics()
    for number in range(10):
        first.observe("GET", "/a", 500 if number == 0 else 200, 0.01, float(number))
        second.observe("GET", "/a", 200, 3.0, float(number))
    launch = Histogram()
    launch.observe(0.02)
    text = expose(
        {"r1": first.snapshot({}), "r2": second.snapshot({"odd": 1.5})},
        {
            "pool-1": {
                "kind": "pool",
                "stats": {
                    "container_launch_seconds": launch.snapshot(),
                    "pool_utilization": 0.25,
                    "text": "left out",
                },
            }
        },
        {"sessions": {"ready": 3}, "stuck": [], "checked_at": None, "age_seconds": 0.5},
        active_containers=3,
    )
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["error_rate", ()] == 0.05
    assert samples["active_containers", ()] == 3
    assert samples["pool_utilization", (("pool", "pool-1"),)] == 0.25
    assert samples["container_launch_time_count", (("pool", "pool-1"),)] == 1
    assert samples["coditect_sessions", (("phase", "ready"),)] == 3
