"""The slots of one warm pool, and which of them serves a claim. Pure: no clock, no I/O.

A slot is an actor without a session, or a container without a user. It goes one way::

    STARTING ──started──▶ READY ──reserve──▶ RESERVED ──take──▶ (gone: it has a user)
        │                   │ ▲                 │
        └─failed            │ └────put_back─────┘
              ╲             │                   │
               ▼            ▼                   ▼
                          drop (gone: it died, or is not needed)

A reservation lives in this process only and keeps concurrent claims from picking the same slot;
the store's transaction stays the truth, and a slot that it refuses is dropped here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from actors.core.backoff import doubled


class SlotState(StrEnum):
    """Stages of a slot on its way to a user."""

    STARTING = "starting"
    READY = "ready"
    RESERVED = "reserved"


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot; ``since`` is when it entered STARTING, or became ready (kept through reservations).

    ``payload`` is what a claim needs of it (a container's handle) and is not looked into here.
    """

    slot_id: str
    state: SlotState
    since: float
    payload: Any = None


@dataclass(slots=True)
class StartBackoff:
    """Waits between failed starts: ``base_seconds`` doubled by each failure in a row, up to a cap."""

    base_seconds: float = 0.5
    cap_seconds: float = 30.0
    failures: int = 0
    not_before: float = 0.0

    def failed(self, now: float) -> None:
        """Count a failure. Those of starts that were under way together count once."""
        if now < self.not_before:
            return
        delay = doubled(self.base_seconds, self.cap_seconds, self.failures)
        self.failures += 1
        self.not_before = now + delay

    def succeeded(self) -> None:
        """Forget all failures."""
        self.failures = 0
        self.not_before = 0.0

    def remaining(self, now: float) -> float:
        """Return the seconds until the next start is allowed."""
        return max(0.0, self.not_before - now)


class SlotTable:
    """The slots of one pool. At most ``max_starting`` start at once; see ``validate``."""

    def __init__(self, target: int, max_starting: int, backoff: StartBackoff | None = None) -> None:
        self.target = target
        self.max_starting = max_starting
        self.backoff = backoff or StartBackoff()
        self._slots: dict[str, Slot] = {}

    def __contains__(self, slot_id: object) -> bool:
        return slot_id in self._slots

    def __iter__(self) -> Iterator[Slot]:
        return iter(tuple(self._slots.values()))

    def get(self, slot_id: str) -> Slot | None:
        """Return a slot, or nothing when it is not (or no longer) in the pool."""
        return self._slots.get(slot_id)

    def count(self, state: SlotState) -> int:
        """Return how many slots are in that state."""
        return sum(slot.state is state for slot in self._slots.values())

    def start(self, slot_id: str, now: float) -> None:
        """Note that a slot is being started."""
        if slot_id in self._slots:
            raise ValueError(f"slot {slot_id} is {self._slots[slot_id].state} already")
        if self.count(SlotState.STARTING) >= self.max_starting:
            raise ValueError(f"more than {self.max_starting} starts at once")
        self._slots[slot_id] = Slot(slot_id, SlotState.STARTING, now)

    def started(self, slot_id: str, now: float, payload: Any = None) -> None:
        """Note that a start succeeded. One that was dropped meanwhile stays dropped."""
        slot = self._slots.get(slot_id)
        if slot is not None and slot.state is SlotState.STARTING:
            self._slots[slot_id] = Slot(slot_id, SlotState.READY, now, payload)
        self.backoff.succeeded()

    def failed(self, slot_id: str, now: float) -> None:
        """Note that a start failed."""
        self._slots.pop(slot_id, None)
        self.backoff.failed(now)

    def adopt(self, slot_id: str, now: float, payload: Any = None) -> bool:
        """Take in a ready slot that was found or given back; false if the pool has it already."""
        if slot_id in self._slots:
            return False
        self._slots[slot_id] = Slot(slot_id, SlotState.READY, now, payload)
        return True

    def reserve(self) -> Slot | None:
        """Set the slot that has been ready longest aside for one claim, or say that there is none."""
        ready = [slot for slot in self._slots.values() if slot.state is SlotState.READY]
        if not ready:
            return None
        oldest = min(ready, key=lambda slot: (slot.since, slot.slot_id))
        self._move(oldest, SlotState.RESERVED)
        return oldest

    def put_back(self, slot_id: str) -> None:
        """End a reservation that was not used; the slot keeps its place in the queue."""
        slot = self._slots.get(slot_id)
        if slot is not None and slot.state is SlotState.RESERVED:
            self._move(slot, SlotState.READY)

    def take(self, slot_id: str) -> None:
        """End a reservation whose claim holds: the slot has a user now and leaves the pool."""
        slot = self._slots.get(slot_id)
        if slot is None or slot.state is not SlotState.RESERVED:
            raise ValueError(f"slot {slot_id} is not reserved")
        del self._slots[slot_id]

    def drop(self, slot_id: str) -> None:
        """Forget a slot that died, was refused by the store, or is being retired. Idempotent."""
        self._slots.pop(slot_id, None)

    def newest_ready(self, count: int) -> list[Slot]:
        """Return up to ``count`` ready slots, those that became ready last first."""
        ready = [slot for slot in self._slots.values() if slot.state is SlotState.READY]
        ready.sort(key=lambda slot: (slot.since, slot.slot_id), reverse=True)
        return ready[: max(0, count)]

    def validate(self) -> None:
        """Check what must hold after every step; raises AssertionError."""
        assert all(key == slot.slot_id for key, slot in self._slots.items()), "keys are slot ids"
        assert self.count(SlotState.STARTING) <= self.max_starting, "starts are bounded"
        assert self.backoff.failures >= 0, "failures are counted upwards"
        assert (self.backoff.failures == 0) == (self.backoff.not_before == 0.0), (
            "a pool waits exactly when its last start failed"
        )

    def _move(self, slot: Slot, state: SlotState) -> None:
        self._slots[slot.slot_id] = Slot(slot.slot_id, state, slot.since, slot.payload)
