"""What is counted of requests, and all metrics as one text."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.core.statistics import Histogram
from cluster.settings import Settings
from serve_app.routes.common import only_local
from serve_app.telemetry.exposition import expose
from serve_app.telemetry.metrics import RATE_SECONDS, IngressMetrics


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


def test_the_error_rate_forgets():
    metrics = IngressMetrics()
    metrics.observe("GET", "/a", 500, 0.1, 0.0)
    metrics.observe("GET", "/a", 200, 0.1, RATE_SECONDS + 11.0)
    assert metrics.snapshot({})["recent"] == [1.0, 0.0]


def test_routes_are_bounded():
    metrics = IngressMetrics()
    for number in range(1000):
        metrics.observe("GET", f"/{number}", 200, 0.1, 0.0)
    assert len(metrics.snapshot({})["api"]) <= 201


@pytest.mark.parametrize(
    ("host", "public_url", "local"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("localhost", None, True),
        ("0.0.0.0", None, False),
        ("127.0.0.1", "https://example.com", False),
        ("example.com", None, False),
    ],
)
def test_who_may_read_metrics_without_signing_in(host, public_url, local):
    assert only_local(Settings(host=host, public_url=public_url)) is local
