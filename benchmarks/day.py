"""Simulate a working day of 10,000 sessions on the code that decides, and measure what looks at all of them.

Nothing runs but that code (`benchmarks/simulation/`): no Ray, no container, no clock but the processor's, for
the scanners' passes. `DAY_PEOPLE`, `DAY_CORES`, `DAY_WARM` and `DAY_SEED` replace the plan's numbers.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable

from actors.core.records.containers import Health
from actors.core.records.idleness import Activity, Idleness
from actors.core.records.sessions import Cause
from actors.health.verdict import HealthRules, Vitals, is_due, probed, scheduled
from actors.idleness.rules import Sample, begun, news, observe
from actors.idleness.rules import is_due as sleep_is_due
from actors.pool.reconciler import SWEEP_SECONDS
from benchmarks.harness import Report, quantile
from benchmarks.simulation.people import Plan
from benchmarks.simulation.timeline import COUNTED, HOUR
from benchmarks.simulation.working_day import WorkingDay

BUSIEST, NIGHT = 11 * HOUR, 24 * HOUR
PASSES = 20


def main() -> None:
    """Run the day up to the busiest hour, measure the scanners on what there is then, and run on."""
    numbers = {
        name: os.environ.get(f"DAY_{name.upper()}") for name in ("people", "cores", "warm", "seed")
    }
    plan = Plan(**{name: int(number) for name, number in numbers.items() if number})
    report, day = Report("day"), WorkingDay(plan)
    began = time.process_time()
    day.run(BUSIEST)
    took = time.process_time() - began
    bound = day.server.bound.quantile(1)
    _report_scanners(day, report)
    began = time.process_time()
    day.run(NIGHT)
    took += time.process_time() - began
    day.validate_night()
    report.add("actors bound, max until 11:00", bound, "")
    _report_actors(day, report)
    _report_activations(day.server.activations, report)
    _report_waits(day, report)
    report.add("the simulation itself, processor time", took, "s")
    report.finish()


def _report_actors(day: WorkingDay, report: Report) -> None:
    server, pool, plan = day.server, day.server.pool, day.plan
    slots = f"{plan.people} people, {plan.cores} cores, {plan.warm} warm slots"
    report.add("sessions attached, max", server.attached.quantile(1), "", note=slots)
    for name, gauge in (("bound", server.bound), ("warm", pool.warm)):
        for q, word in ((0.5, "p50"), (0.99, "p99"), (1.0, "max")):
            report.add(f"actors {name}, {word}", gauge.quantile(q), "", note="8:00 to 20:00")
    report.add("actors started", pool.started, "")
    minutes = Counter[int]()
    for second, commits in server.commits.items():
        minutes[second // 60] += commits
    note = f"peak second {max(server.commits.values())}"
    report.add("lease commits a second, peak minute", _most(minutes)[0], "/s", note=note)


def _report_activations(activations: Counter[tuple[Cause, int]], report: Report) -> None:
    for cause in (None, *Cause):
        minutes = Counter[int]()
        for (each, minute), count in activations.items():
            if cause in {None, each}:
                minutes[minute] += count
        name = f"activations by {cause or 'anything'}"
        total, (most, at) = minutes.total(), _most(minutes)
        mean = total / (COUNTED[1] - COUNTED[0])
        report.add(f"{name} a second, mean", mean, "/s", note=f"{total} in all")
        report.add(f"{name} a second, peak minute", most, "/s", note=at)


def _most(minutes: Counter[int]) -> tuple[float, str]:
    """Return how many a second the busiest minute had, and which it was."""
    minute, most = minutes.most_common(1)[0] if minutes else (0, 0)
    return most / 60, f"{minute // 60}:{minute % 60:02}"


def _report_waits(day: WorkingDay, report: Report) -> None:
    server, pool = day.server, day.server.pool
    report.add_quantiles("an activation's wait for an actor", server.waits)
    note = f"{pool.busy} times sent away"
    report.add("claims waiting for an actor, max", pool.waiting.quantile(1), "", note=note)
    note = f"{server.at_rest_at_once} first sign-ins more waited for nothing"
    report.add_quantiles("a person's wait for a container", server.ready_after, note=note)
    report.add_quantiles("end of an attended container to the next one", server.back_after)


def _report_scanners(day: WorkingDay, report: Report) -> None:
    look, probes = day.settings.reconcile_interval, Probes(day)
    scanners: tuple[tuple[str, Callable[[], object], float], ...] = (
        ("judge", day.judge, look),
        ("plan_sweep", day.sweep, SWEEP_SECONDS),
        ("health: what is due, and what probes say", probes.look, look),
        ("rules of idleness", _idleness(day), day.settings.idle.pause),
    )
    for name, scan, interval in scanners:
        times = []
        for _ in range(PASSES):
            began = time.process_time()
            scan()
            times.append(1000 * (time.process_time() - began))
        each = quantile(times, 0.5)
        report.add(f"{name}: a pass", each, "ms", note=f"{len(day.sessions)} sessions")
        report.add(
            f"{name}: processor time a second", each / interval, "ms", note=f"every {interval:g} s"
        )
    report.add("probes due a second", probes.count / PASSES, "/s")


class Probes:
    """The health checker's look at everybody's containers, a second later each time; all are well."""

    def __init__(self, day: WorkingDay) -> None:
        settings, self._draw = day.settings, day.timeline.random.random
        self._rules = HealthRules(settings.probe_interval, settings.probe_failures)
        self._now = self.count = 0
        self._vitals = {
            name: Vitals(name, Health.HEALTHY, next_probe_at=settings.probe_interval * self._draw())
            for name in (seat.name for seat in day.seats)
        }

    def look(self) -> None:
        """Find what is due, and weigh the probes."""
        self._now += 1
        vitals = self._vitals
        due = [each for each in vitals.values() if is_due(each, self._now)]
        lost = [each for each in vitals.values() if each.lost and not is_due(each, self._now)]
        assert not lost
        self.count += len(due)
        for each in due:
            well = probed(each, Health.HEALTHY, self._rules)
            vitals[each.container_id] = scheduled(well, self._now, self._rules, self._draw())


def _idleness(day: WorkingDay) -> Callable[[], None]:
    """Return the sampler's decisions on everybody's containers, a pause later each time."""
    rules, draw = day.settings.idle, day.timeline.random.random
    first = Sample(0.0, 0.0, Activity())
    watches = {seat.name: begun(seat.name, first) for seat in day.seats}
    known = {seat.name: Idleness(session_id=seat.name) for seat in day.seats}
    types = {seat.name: draw() < 0.5 for seat in day.seats}

    def look() -> None:
        for name, before in watches.items():
            now = before.sample.now + rules.pause
            activity = Activity(at=now, input_age=1.0 if types[name] else None)
            watches[name] = watch = observe(before, Sample(now, now, activity, 1), rules)
            known[name] = news(watch, rules, known[name]) or known[name]
            sleep_is_due(watch, rules, None)

    return look


if __name__ == "__main__":
    main()
