"""Counts and limits what one session moves. Pure: time is given, monotonic unless named otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.records.egress import EgressUse, Refused

MAX_REFUSALS = 20
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of each session; 0: none. ``rate`` is bytes a second, ``day`` bytes a day of UTC."""

    connections: int = 256
    rate: int = 0
    day: int = 0


class TokenBucket:
    """Lets ``rate`` bytes a second pass, and up to a second's worth at once.

    What is moved is known afterwards, so it may go into debt, which is waited off before the next piece.
    """

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._level = float(rate)
        self._at = now

    def spend(self, count: int, now: float) -> None:
        """Take what has passed."""
        if self._rate:
            self._fill(now)
            self._level -= count

    def wait(self, now: float) -> float:
        """Return the seconds until more may pass; 0: now."""
        if not self._rate:
            return 0.0
        self._fill(now)
        return max(0.0, -self._level / self._rate)

    def _fill(self, now: float) -> None:
        grown = self._level + max(0.0, now - self._at) * self._rate
        self._level = min(float(self._rate), grown)
        self._at = now


class Counter:
    """What a session did on a day, and what it was refused lately."""

    def __init__(self, session_id: str, known: EgressUse | None, day: str) -> None:
        self.session_id = session_id
        self.changed = False
        self._day = day
        self._sent = self._received = self._connections = self._refused = 0
        self._refusals: list[Refused] = []
        if known is not None:
            self._refusals = list(known.refusals)
            if known.day == day:
                self._sent, self._received = known.sent, known.received
                self._connections, self._refused = known.connections, known.refused

    @property
    def moved(self) -> int:
        """Bytes of the day, both ways."""
        return self._sent + self._received

    def begin(self, day: str) -> None:
        """Begin anew if it is another day."""
        if day != self._day:
            self._day = day
            self._sent = self._received = self._connections = self._refused = 0
            self.changed = True

    def move(self, sent: int, received: int) -> None:
        """Count bytes."""
        self._sent += sent
        self._received += received
        self.changed = True

    def connect(self) -> None:
        """Count a connection that was made."""
        self._connections += 1
        self.changed = True

    def refuse(self, host: str, port: int, rule: str, reason: str, now: float) -> None:
        """Count a refusal (Unix time); the same one again stands in the list but once."""
        self._refused += 1
        self.changed = True
        count = 1
        for place, former in enumerate(self._refusals):
            if (former.host, former.port, former.rule) == (host[:_SHOWN], port, rule):
                count += self._refusals.pop(place).count
                break
        refused = Refused(
            at=now, host=host[:_SHOWN], port=port, rule=rule, reason=reason[:_SHOWN], count=count
        )
        self._refusals = [refused, *self._refusals][:MAX_REFUSALS]

    def use(self) -> EgressUse:
        """Return it as it is kept."""
        return EgressUse(
            session_id=self.session_id,
            day=self._day,
            sent=self._sent,
            received=self._received,
            connections=self._connections,
            refused=self._refused,
            refusals=tuple(self._refusals),
        )
