"""Decides whether a session may sleep: what was seen of it, what that weighs, and what follows. Pure.

Theory of operation
-------------------
Every few seconds a running container is *sampled*. What happened since the sample before are its
*signals*, each with a weight::

    input      somebody typed, saved, ran something; also input that no program has read yet
    cpu        its programs used more than ``cpu_share`` of a processor
    output     a terminal printed
    listeners  a program accepts connections
    clients    a browser or program is attached

A sample whose signals weigh ``ENOUGH`` together is a sign of life, and the session sleeps when there was
none for ``hibernate_after``. So with the weights that are set at first typing or computing alone keeps a
session awake, while an open page, a clock that prints the time, or a forgotten server does not; two of
them together (output that somebody watches, a server that is used) do.

Nothing is inferred from a container that does not answer: its sample is left out, and the next one covers
the longer time. Whoever begins to watch a container takes it for awake. So every doubt keeps a session
awake, and none puts it to sleep.

A *veto* keeps it awake until a time, whatever is seen. ``now`` is Unix time, for people and vetoes;
``monotonic`` decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from actors.core.records.idleness import Activity, Idleness, Quiet
from actors.core.settings import IdleRules, Signal

ENOUGH = 1.0
SAME_MOMENT = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a session's container, and how many sockets are attached to it."""

    now: float
    monotonic: float
    activity: Activity
    clients: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """One container under watch: when it last gave a sign of life, and its last sample."""

    container_id: str
    awake_at: float
    sample: Sample
    signals: frozenset[Signal] = frozenset()
    awake: bool = True


def begun(container_id: str, sample: Sample) -> Watch:
    """Begin to watch; the time until sleep begins now."""
    return Watch(container_id, sample.monotonic, sample)


def observe(watch: Watch, sample: Sample, rules: IdleRules) -> Watch:
    """Take a sample in."""
    signals = frozenset(_signals(watch.sample, sample, rules))
    awake = sum(rules.weights.get(signal, 0.0) for signal in signals) >= ENOUGH
    return replace(
        watch,
        sample=sample,
        signals=signals,
        awake=awake,
        awake_at=sample.monotonic if awake else watch.awake_at,
    )


def _signals(before: Sample, sample: Sample, rules: IdleRules) -> list[Signal]:
    seen, was = sample.activity, before.activity
    elapsed = max(0.0, sample.monotonic - before.monotonic)
    used = seen.cpu_seconds - was.cpu_seconds
    found = {
        Signal.INPUT: bool(seen.busy or seen.unread) or _within(seen.input_age, elapsed),
        Signal.CPU: elapsed > 0 and used >= rules.cpu_share * elapsed,
        Signal.OUTPUT: _within(seen.output_age, elapsed),
        Signal.LISTENERS: seen.listeners > 0,
        Signal.CLIENTS: sample.clients > 0,
    }
    return [signal for signal, present in found.items() if present]


def _within(age: float | None, seconds: float) -> bool:
    return age is not None and age <= seconds


def sleeps_at(watch: Watch, rules: IdleRules) -> float | None:
    """Return when it would sleep (Unix time) without a veto; None while that is not in sight."""
    if rules.hibernate_after <= 0 or watch.awake:
        return None
    sample = watch.sample
    quiet_for = sample.monotonic - watch.awake_at
    return sample.now - quiet_for + rules.hibernate_after


def is_due(watch: Watch, rules: IdleRules, veto_until: float | None) -> bool:
    """Return whether it should sleep now."""
    at, now = sleeps_at(watch, rules), watch.sample.now
    return at is not None and now >= at and now >= (veto_until or 0.0)


def news(watch: Watch, rules: IdleRules, known: Idleness) -> Idleness | None:
    """Return what is to be published from now on; None if what is ``known`` still says it.

    While a session is awake the reason is published and no time: that would change with each sample.
    """
    at = sleeps_at(watch, rules)
    because = tuple(sorted(watch.signals)) if watch.awake else ()
    signals = tuple(sorted(watch.signals))
    before = known.sleeps_at
    moved = (at is None) is not (before is None) or (
        at is not None and before is not None and abs(at - before) > SAME_MOMENT
    )
    if not moved and (because, signals) == (known.awake_because, known.signals):
        return None
    return known.model_copy(
        update={
            "awake_because": because,
            "signals": signals,
            "sleeps_at": at,
            "updated_at": watch.sample.now,
        }
    )


def quiet(watch: Watch, rules: IdleRules) -> Quiet:
    """Return what must still hold when the container is closed because of what was decided."""
    seen = watch.sample.activity
    return Quiet(since=seen.at, cpu_seconds=seen.cpu_seconds, cpu_share=rules.cpu_share)
