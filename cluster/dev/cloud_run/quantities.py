"""Amounts of processors and memory, as requests write them. No I/O."""

from __future__ import annotations

import re

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_MEMORY = re.compile(r"([0-9]+)(|k|M|G|Ki|Mi|Gi)")
_CPU = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m?)")


def cpu(text: str) -> float | None:
    """Return a number of processors (``2``, ``2000m``, ``0.5``), or None for what is none."""
    found = _CPU.fullmatch(text)
    if found is None:
        return None
    return float(found[1]) / (1000 if found[2] else 1)


def memory(text: str) -> int | None:
    """Return bytes of memory (``4Gi``, ``512Mi``), or None for what is none."""
    found = _MEMORY.fullmatch(text)
    return None if found is None else int(found[1]) * _UNITS[found[2]]
