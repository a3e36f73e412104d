"""The counters of one replica."""

from __future__ import annotations

from serve_app.telemetry.metrics import RATE_SECONDS, IngressMetrics


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
