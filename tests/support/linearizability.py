"""Is a recorded history linearizable? The algorithm of Wing and Gong, with Lowe's memory.

J. Wing, C. Gong, "Testing and verifying concurrent objects" (1993); G. Lowe, "Testing for
linearizability" (2017). The search takes calls in every order that real time allows and undoes a
choice when a return comes that nothing explains; a set of calls that led to a state is tried once.

A call whose outcome is not known may have happened at any time after it began, or never.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

State = TypeVar("State", bound=Hashable)
UNKNOWN: Final = object()
"""The output of a call that nobody knows the outcome of."""


@dataclass
class Call:
    """One call: when it began and ended (any numbers that grow), what went in and what came out."""

    began: int
    asked: Any
    ended: int | None = None
    answered: Any = UNKNOWN


@dataclass(frozen=True)
class Model(Generic[State]):
    """The behaviour of a sequential object.

    ``step(state, asked, answered)`` returns the next state, or None when this answer cannot be. With
    UNKNOWN it returns the state after the call, or None when the call does nothing in this state.
    """

    initial: State
    step: Callable[[State, Any, Any], State | None]


class NotLinearizable(AssertionError):
    """No order explains the history: ``order`` is the longest that went well, ``open`` what is left."""

    def __init__(self, order: list[Call], left: list[Call]) -> None:
        super().__init__(order, left)
        self.order = order
        self.left = left

    def __str__(self) -> str:
        lines = [f"{len(self.order)} calls can be put in order, the rest cannot follow:"]
        lines += [f"  {call.asked} -> {call.answered}" for call in self.order[-6:]]
        lines += [f"  ? [{c.began}, {c.ended}] {c.asked} -> {c.answered}" for c in self.left[:12]]
        return "\n".join(lines)


class Undecided(AssertionError):
    """The search was given up: the history is too concurrent for it."""


@dataclass
class Recorder:
    """Notes the calls of a concurrent run; its clock is the order of the events themselves."""

    calls: list[Call] = field(default_factory=list)
    _events: int = 0

    @asynccontextmanager
    async def call(self, asked: Any) -> AsyncIterator[Call]:
        """Note a call; set its ``answered`` inside. Left without, its outcome is unknown."""
        call = Call(self._tick(), asked)
        self.calls.append(call)
        yield call
        if call.answered is not UNKNOWN:
            call.ended = self._tick()

    def _tick(self) -> int:
        self._events += 1
        return self._events


class _Event:
    """A begin or an end in the list of those still to be explained."""

    __slots__ = ("after", "before", "call", "end")

    def __init__(self, call: int, end: _Event | None) -> None:
        self.call = call
        self.end = end
        """Of a begin: its end. None: this is an end."""
        self.before: _Event | None = None
        self.after: _Event | None = None


def linearize(
    model: Model[State], history: Iterable[Call], *, limit: int = 2_000_000
) -> list[Call]:
    """Return the calls in an order that explains all answers.

    Raises NotLinearizable, or Undecided after ``limit`` steps.
    """
    calls = list(history)
    head = _linked(calls)
    state = model.initial
    done = 0
    tried: set[tuple[int, State]] = set()
    path: list[tuple[_Event, State]] = []
    longest: list[int] = []
    event = head.after
    for _ in range(limit):
        if event is None or (event.end is None and calls[event.call].answered is UNKNOWN):
            # Unknown ends stand last: everything with an answer is explained.
            return [calls[begin.call] for begin, _ in path]
        if event.end is not None:
            call = calls[event.call]
            following = model.step(state, call.asked, call.answered)
            reached = done | 1 << event.call
            if following is not None and (reached, following) not in tried:
                tried.add((reached, following))
                path.append((event, state))
                state, done = following, reached
                _lift(event)
                if len(path) > len(longest):
                    longest = [begin.call for begin, _ in path]
                event = head.after
            else:
                event = event.after
            continue
        if not path:
            rest = [call for index, call in enumerate(calls) if index not in longest]
            raise NotLinearizable([calls[index] for index in longest], rest)
        event, state = path.pop()
        done &= ~(1 << event.call)
        _put_back(event)
        event = event.after
    raise Undecided(f"{len(calls)} calls, {limit} steps")


def _linked(calls: list[Call]) -> _Event:
    """Return the head of the list of begins and ends in their order; unknown ends come last."""
    never = 1 + max((call.ended or call.began for call in calls), default=0)
    placed: list[tuple[int, _Event]] = []
    for index, call in enumerate(calls):
        end = _Event(index, None)
        known = call.answered is not UNKNOWN and call.ended is not None
        placed.append((call.ended if known and call.ended else never, end))
        placed.append((call.began, _Event(index, end)))
    head = last = _Event(-1, None)
    for _, event in sorted(placed, key=lambda each: each[0]):
        last.after, event.before = event, last
        last = event
    return head


def _lift(begin: _Event) -> None:
    """Take a begin and its end out of the list."""
    for event in (begin, begin.end):
        assert event is not None
        assert event.before is not None
        event.before.after = event.after
        if event.after is not None:
            event.after.before = event.before


def _put_back(begin: _Event) -> None:
    """Undo ``_lift``; the last lifted is put back first."""
    for event in (begin.end, begin):
        assert event is not None
        assert event.before is not None
        event.before.after = event
        if event.after is not None:
            event.after.before = event


# ---- models -------------------------------------------------------------------------------------

Cells = tuple[tuple[Any, Any], ...]


def transactions() -> Model[Cells]:
    """Strict serializability: a call is a whole transaction, done at one instant.

    Asked: a dict of what it writes, None for what it clears. Answered: a dict of what it read by key,
    and by ``(begin, end, limit, reverse)`` for ranges; absent keys read None.
    """

    def found(cells: dict[Any, Any], asked: Any) -> Any:
        if not isinstance(asked, tuple):
            return cells.get(asked)
        begin, end, limit, reverse = asked
        inside = (pair for pair in cells.items() if begin <= pair[0] < end)
        return tuple(sorted(inside, reverse=reverse)[:limit])

    def step(state: Cells, writes: dict[Any, Any], read: Any) -> Cells | None:
        cells = dict(state)
        if read is not UNKNOWN and any(found(cells, key) != value for key, value in read.items()):
            return None
        after = {**cells, **writes}
        return tuple(sorted((key, value) for key, value in after.items() if value is not None))

    return Model((), step)


def fenced_register() -> Model[tuple[int, Any]]:
    """A session's record: whoever raised the epoch last may write, all others are refused.

    Asked and answered: ``("activate",)`` the new epoch; ``("save", epoch, value)`` whether it was
    taken; ``("read",)`` the pair of epoch and value.
    """

    def step(state: tuple[int, Any], asked: tuple[Any, ...], answered: Any) -> Any:
        epoch, value = state
        following, answer = state, state
        match asked:
            case ("activate",):
                following, answer = (epoch + 1, value), epoch + 1
            case ("save", mine, new):
                following, answer = ((epoch, new), True) if mine == epoch else (state, False)
        return following if answered is UNKNOWN or answered == answer else None

    return Model((0, None), step)
