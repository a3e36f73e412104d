"""The terminal protocol step by step: one file for the tests of both clients and of CODI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_VECTORS = json.loads((Path(__file__).parents[1] / "vectors/terminal_protocol.json").read_text())

CAPACITY: int = _VECTORS["capacity"]
CLOSES: list[tuple[int, str]] = [(int(code), end) for code, end in _VECTORS["closes"].items()]
SCENARIOS: dict[str, list[dict[str, Any]]] = {
    scenario["name"]: scenario["steps"] for scenario in _VECTORS["scenarios"]
}
OF_CODI = {each["name"]: each["steps"] for each in _VECTORS["scenarios"] if each["codi"]}


def parameters(step: dict[str, Any]) -> dict[str, str]:
    """Return the query parameters of a ``connect``."""
    given = {name: str(value) for name, value in step["query"].items() if value is not None}
    return {"client": "c"} | given
