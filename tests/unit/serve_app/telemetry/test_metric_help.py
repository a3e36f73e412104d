"""Help texts of metrics."""

from __future__ import annotations

from serve_app.telemetry.metric_help import HELP, help_of


def test_every_metric_has_words_of_its_own_or_gets_some():
    assert all(text.endswith(".") for text in HELP.values())
    assert help_of("pool_new_things_total") == "new things, of the pool actor."
