"""Percentiles, a table with targets, and results kept with machine and date."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One measured figure. ``target`` is None when none was set; ``at_most`` is the side that is good."""

    what: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = True
    note: str = ""

    @property
    def verdict(self) -> str:
        """The outcome: ``reached``, ``MISSED``, or nothing without a target."""
        if self.target is None:
            return ""
        reached = self.value <= self.target if self.at_most else self.value >= self.target
        return "reached" if reached else "MISSED"


FEWEST_FOR_P99 = 100


@dataclass
class Report:
    """The rows of one benchmark."""

    name: str
    rows: list[Row] = field(default_factory=list)

    def add(
        self,
        what: str,
        value: float,
        unit: str,
        target: float | None = None,
        *,
        at_most: bool = True,
        note: str = "",
    ) -> None:
        """Add one figure and print it at once: the next may take minutes."""
        self.rows.append(Row(what, value, unit, target, at_most, note))
        print(f"{self.name}: {what}: {value:,.3g} {unit}", file=sys.stderr, flush=True)

    def add_quantiles(
        self,
        what: str,
        seconds: Sequence[float],
        *,
        p50: float | None = None,
        p99: float | None = None,
        note: str = "",
    ) -> None:
        """Add median, 99th percentile and maximum of times, in milliseconds; targets likewise.

        Less than 100 times have no 99th percentile: the largest of them is held against its target.
        """
        count = f"n={len(seconds)}" + (f", {note}" if note else "")
        self.add(f"{what}, p50", quantile(seconds, 0.50) * 1000, "ms", p50, note=count)
        if enough := len(seconds) >= FEWEST_FOR_P99:
            self.add(f"{what}, p99", quantile(seconds, 0.99) * 1000, "ms", p99, note=count)
        target = None if enough else p99
        self.add(f"{what}, max", max(seconds) * 1000, "ms", target, note=count)

    def finish(self) -> None:
        """Print the table and keep the rows as JSON."""
        table = Table("what", "result", "target", "", "note", title=self.name)
        for row in self.rows:
            sign = "≤" if row.at_most else "≥"
            target = "" if row.target is None else f"{sign} {row.target:g} {row.unit}"
            table.add_row(row.what, f"{row.value:,.3g} {row.unit}", target, row.verdict, row.note)
        Console(width=140).print(table)
        load = [round(each, 1) for each in os.getloadavg()]
        print(f"load of the machine over 1, 5 and 15 minutes: {load}")
        RESULTS.mkdir(exist_ok=True)
        document = {
            "benchmark": self.name,
            "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "load": load,
            "rows": [asdict(row) | {"verdict": row.verdict} for row in self.rows],
        }
        (RESULTS / f"{self.name}.json").write_text(json.dumps(document, indent=1) + "\n")


def quantile(values: Sequence[float], q: float) -> float:
    """Return the nearest-rank quantile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(q * len(ordered) + 0.5) - 1))]


def machine() -> dict[str, str | int]:
    """Describe the machine without naming it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count() or 0,
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
