"""Sums over actors that come and go."""

from actors.core.statistics import Histogram
from actors.core.totals import Totals


def distribution(*values):
    histogram = Histogram((1.0,))
    for value in values:
        histogram.observe(value)
    return histogram.snapshot()


def test_what_actors_report_adds_up():
    totals = Totals()
    totals.update("a", {"saves_total": 2, "held": 1, "seconds": distribution(0.5)})
    totals.update("b", {"saves_total": 3, "held": 1, "seconds": distribution(2.0)})
    totals.update("a", {"saves_total": 4, "held": 1, "seconds": distribution(0.5)})
    snapshot = totals.snapshot()
    assert (snapshot["saves_total"], snapshot["held"]) == (7, 2)
    assert snapshot["seconds"]["counts"] == [1, 1]


def test_counts_of_an_actor_that_is_gone_stay_and_its_gauges_go():
    totals = Totals()
    totals.update("a", {"saves_total": 2, "held": 1, "seconds": distribution(0.5)})
    totals.keep_only([])
    snapshot = totals.snapshot()
    assert snapshot["saves_total"] == 2
    assert snapshot["seconds"]["count"] == 1
    assert "held" not in snapshot


def test_counts_of_a_process_that_started_again_are_not_lost():
    totals = Totals()
    totals.update("a", {"saves_total": 5})
    totals.update("a", {"saves_total": 1})
    totals.update("a", {"saves_total": 2})
    assert totals.snapshot()["saves_total"] == 7


def test_a_text_is_no_number():
    totals = Totals()
    totals.update("a", {"phase": "ready"})
    assert totals.snapshot() == {}
