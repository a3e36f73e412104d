"""The rules of ``promtool check metrics`` (client_golang, ``testutil/promlint``), without promtool."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
ABBREVIATED = frozenset(
    {"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"}
)
NOT_BASE = frozenset(
    {
        "milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "days", "weeks", "kelvin",
        "kelvins", "fahrenheit", "kilometers", "centimeters", "millimeters", "inches", "yards",
        "miles", "bits", "kilobytes", "megabytes", "gigabytes", "terabytes", "petabytes", "kibibytes",
        "mebibytes", "gibibytes", "milligrams", "micrograms", "nanograms", "kilograms", "percent",
        "percentage", "permille", "milliamperes", "millivolts", "kilojoules", "calories",
    }
)  # fmt: skip


def lint(text: str) -> list[str]:
    """Return what is wrong with an exposition in the text format."""
    found = []
    typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helped = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    found += [f"{name}: no help text" for name in typed if not helped.get(name, "").strip()]
    if len(re.findall(r"^# TYPE ", text, re.MULTILINE)) != len(typed):
        found.append("a family comes twice")
    for name, kind in typed.items():
        found += [f"{name}: {each}" for each in _of_name(name, kind)]
    for family in text_string_to_metric_families(text):
        if family.type == "unknown":
            found.append(f"{family.name}: no type")
        for sample in family.samples:
            labels = set(sample.labels)
            if family.type != "histogram" and "le" in labels:
                found.append(f"{sample.name}: a label le")
            found += [f"{sample.name}: camelCase in {each}" for each in labels if _camel(each)]
    seen = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    found += sorted({f"{each}: twice" for each in seen if seen.count(each) > 1})
    return found


def _of_name(name: str, kind: str) -> list[str]:
    found = []
    parts = name.split("_")
    if (kind == "counter") != name.endswith("_total"):
        found.append("counters, and they alone, end in _total")
    if kind != "histogram" and name.endswith(("_bucket", "_sum", "_count", "_info")):
        found.append("a suffix that is reserved")
    if any(f"_{each}_" in name or name.endswith(f"_{each}") for each in TYPES):
        found.append("its type is in its name")
    if ":" in name:
        found.append("a colon")
    if _camel(name):
        found.append("camelCase")
    found += [f"the abbreviated unit {each}" for each in parts if each in ABBREVIATED]
    found += [f"no base unit: {each}" for each in parts if each in NOT_BASE]
    return found


def _camel(text: str) -> bool:
    return re.search(r"[a-z][A-Z]", text) is not None
