"""Shows an operator how far the start is: a line a step, on a terminal and in a log alike."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Progress:
    """Writes to ``console``; on a terminal a step under way has a spinner."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Print when the step is done, and how long it took."""
        began = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(f"{name} …"):
                yield
        else:
            yield
        self.done(name, time.monotonic() - began)

    def done(self, name: str, seconds: float, note: str = "") -> None:
        """Print that a step is done."""
        self._console.print(
            f"[green]✓[/green] {name:<16} {seconds:6.1f} s  {note}", highlight=False
        )

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False)

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._began
