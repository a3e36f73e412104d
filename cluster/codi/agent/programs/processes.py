"""The processes of the container, from /proc (proc(5))."""

from __future__ import annotations

import os
from typing import Any

_MAX_LISTED = 4096
_MAX_COMMAND = 4096


def processes() -> list[dict[str, Any]]:
    """List them in the order of their numbers; those that end meanwhile are left out."""
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    found = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit())[:_MAX_LISTED]:
        try:
            status = _read(f"/proc/{pid}/stat", 4096)
            command = _read(f"/proc/{pid}/cmdline", _MAX_COMMAND)
        except OSError:
            continue
        # The name is in parentheses and may hold anything, parentheses and spaces included.
        begin, end = status.index(b"(") + 1, status.rindex(b")")
        fields = status[end + 2 :].split()
        text = command.rstrip(b"\0").replace(b"\0", b" ") or b"[%s]" % status[begin:end]
        found.append(
            {
                "pid": pid,
                "ppid": int(fields[1]),
                "command": text.decode("utf-8", "replace"),
                "cpu_seconds": (int(fields[11]) + int(fields[12])) / ticks,
                "rss_bytes": int(fields[21]) * page,
                "state": fields[0].decode("ascii"),
            }
        )
    return found


def _read(path: str, limit: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(limit)
