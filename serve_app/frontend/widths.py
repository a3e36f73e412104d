"""Print how many cells the C library gives each character, as ``src/workspace/terminals/emulator/widths.json``.

Programs in a terminal ask the C library (wcwidth(3)) where the cursor will be, so the page has to count as
it does. Run it with the glibc of the container images: ``python widths.py > src/workspace/terminals/emulator/widths.json``.
"""

from __future__ import annotations

import ctypes
import json
import locale
import platform
import sys
from collections.abc import Iterator


def widths() -> Iterator[int]:
    """Yield the width of every code point; what the library does not know is one cell, a control none."""
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    wcwidth = ctypes.CDLL(None).wcwidth
    for code in range(sys.maxunicode + 1):
        if code < 0x20 or 0x7F <= code < 0xA0:
            yield 0
        else:
            width = wcwidth(code)
            yield width if width >= 0 else 1


def ranges(wanted: int) -> list[list[int]]:
    """Return the first and last code points of all runs of one width."""
    found: list[list[int]] = []
    for code, width in enumerate(widths()):
        if width != wanted:
            continue
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def table() -> dict[str, object]:
    """Return the table; what is in neither list has one cell."""
    return {"glibc": platform.libc_ver()[1], "none": ranges(0), "two": ranges(2)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(table(), separators=(",", ":")) + "\n")
