"""Faults that a test injects: calls that fail, answers that get lost, creations that hang or fail."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from cluster.dev.cloud_run.errors import ApiError


@dataclass(slots=True)
class Fault:
    """One thing to go wrong, for the next ``times`` calls of a method on a resource.

    ``method`` and ``resource`` (the full name of a service or instance) may hold ``*``. Of the call:
    ``delay_seconds`` passes before anything is done; then ``error`` ends it with nothing done, or
    ``loses_answer`` does it all and never answers. Of the work that it begins, which its operation stands
    for: ``work_seconds`` passes on top, ``hangs`` makes it wait for ``release``, ``fails`` ends it as
    failed, with these words.
    """

    method: str = "*"
    resource: str = "*"
    times: int = 1
    delay_seconds: float = 0.0
    error: ApiError | None = None
    loses_answer: bool = False
    work_seconds: float = 0.0
    hangs: bool = False
    fails: str | None = None
    met: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let go on what hangs."""
        self.released.set()


NO_FAULT = Fault(times=0)


class Faults:
    """The faults still to come; the first that fits is the one."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def inject(self, fault: Fault) -> Fault:
        """Have something go wrong, and return it: ``met`` is set when it has."""
        self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Let nothing more go wrong, and what hangs go on."""
        for fault in self._waiting:
            fault.release()
        self._waiting.clear()

    def take(self, method: str, resource: str) -> Fault:
        """Return what goes wrong with a call, ``NO_FAULT`` as a rule."""
        for fault in self._waiting:
            if fnmatchcase(method, fault.method) and fnmatchcase(resource, fault.resource):
                fault.times -= 1
                if fault.times <= 0:
                    self._waiting.remove(fault)
                fault.met.set()
                return fault
        return NO_FAULT
