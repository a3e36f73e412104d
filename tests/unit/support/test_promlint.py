"""The linter of metrics finds what promtool would."""

from __future__ import annotations

import pytest

from tests.support.promlint import lint


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("# HELP a_total Things.\n# TYPE a_total counter\na_total 1\n", None),
        ("# TYPE a_total counter\na_total 1\n", "no help"),
        ("# HELP a Things.\n# TYPE a counter\na 1\n", "_total"),
        ("# HELP a_total Things.\n# TYPE a_total gauge\na_total 1\n", "_total"),
        ("# HELP a_ms Time.\n# TYPE a_ms gauge\na_ms 1\n", "abbreviated"),
        ("# HELP a_minutes Time.\n# TYPE a_minutes gauge\na_minutes 1\n", "base unit"),
        ("# HELP a_gauge A.\n# TYPE a_gauge gauge\na_gauge 1\n", "type is in its name"),
        ("# HELP aB A.\n# TYPE aB gauge\naB 1\n", "camelCase"),
        ("# HELP a_sum A.\n# TYPE a_sum gauge\na_sum 1\n", "reserved"),
        ('# HELP a A.\n# TYPE a gauge\na{le="1"} 1\n', "label le"),
        ("# HELP a A.\n# TYPE a gauge\na 1\na 2\n", "twice"),
    ],
)
def test_each_fault_is_found(text, wrong):
    found = lint(text)
    assert bool(found) == (wrong is not None)
    assert wrong is None or any(wrong in each for each in found)
