"""Run all benchmarks, or those named: `python -m benchmarks [NAME …]`."""

from __future__ import annotations

import importlib
import sys
import traceback

# In the order of the README's table.
NAMES = [
    "bringup",
    "login",
    "echo",
    "ssh",
    "api",
    "recovery",
    "claims",
    "memory",
    "density",
    "day",
    "burst",
    "crowd",
    "workers",
    "launch",
    "store",
    "workspaces",
    "survival",
    "ports",
    "backup",
    "egress",
    "programs",
]


def main(names: list[str]) -> int:
    """Run each, go on past one that fails, and name at the end those that did."""
    unknown = set(names) - set(NAMES)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
        return 2
    failed = []
    for name in names or NAMES:
        try:
            importlib.import_module(f"benchmarks.{name}").main()
        except Exception:
            traceback.print_exc()
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
