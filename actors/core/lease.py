"""Until when an owner may act, and from when another may. Pure: no clock, no I/O.

A lease (Gray and Cheriton, *Leases*, SOSP 1989) that compares nobody's clock with anybody else's. The
owner renews it in the store, which gives it a new *token*, and may act for ``seconds`` from the moment
at which the renewal was **sent**. Whoever wants to take over reads the token, and may once ``patience``
has passed on its own clock since the **answer** came, if the token is still the same when the takeover
commits. Between the two lies what the clocks may drift apart::

    owner     sent ──────────────── seconds ─────────────▶ stops
    store        committed
    taker               read, answer ─────────── patience ─────────────▶ commits, if the token is the same

An owner that has not renewed since it became the owner holds no lease yet: it may be replaced at once.
A renewal of it that is still under way is then refused, since the epoch has been raised.

The epoch fences what reaches the store or CODI. The lease is for what neither of them sees: starting
and stopping containers, and removing a workspace.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachetools import LRUCache

MAX_WATCHED = 4096


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """``seconds`` of life without a renewal; ``drift``: how much a clock's second may differ from one."""

    seconds: float
    drift: float = 0.01

    @property
    def renew_every(self) -> float:
        """Seconds between renewals: three may fail before the lease runs out."""
        return self.seconds / 4

    @property
    def patience(self) -> float:
        """Seconds for which a token must stay the same, on the clock of whoever watches it."""
        return self.seconds * (1 + self.drift) / (1 - self.drift)


def token(epoch: int, number: int | None) -> str:
    """Return the token of a lease: another one for each epoch and renewal; None before the first."""
    return f"{epoch}/{'' if number is None else number}"


def was_renewed(lease: str) -> bool:
    """Return whether the owner renewed its lease since it became the owner."""
    return not lease.endswith("/")


class Lease:
    """The owner's side. Times are those of its own monotonic clock."""

    def __init__(self, rules: LeaseRules) -> None:
        self.rules = rules
        self._sent_at: float | None = None

    def holds(self, now: float) -> bool:
        """Return whether the owner may act at this moment; not before the first renewal."""
        return self._sent_at is not None and now < self._sent_at + self.rules.seconds

    def has_run_out(self, now: float) -> bool:
        """Return whether it held once and does not any more."""
        return self._sent_at is not None and not self.holds(now)

    def renewed(self, sent_at: float) -> None:
        """Note that the renewal which was sent then is committed."""
        self._sent_at = sent_at if self._sent_at is None else max(self._sent_at, sent_at)


class LeaseWatch:
    """The other side: since when each session's token has been the same, as far as was looked."""

    def __init__(self, rules: LeaseRules) -> None:
        self.rules = rules
        self._seen: LRUCache[str, tuple[str, float]] = LRUCache(MAX_WATCHED)

    def has_lapsed(self, session_id: str, token: str, now: float) -> bool:
        """Note a token that was read, ``now`` being after its answer; true if it may be taken over."""
        if not was_renewed(token):
            return True
        known = self._seen.get(session_id)
        if known is None or known[0] != token:
            self._seen[session_id] = (token, now)
            return False
        return now - known[1] >= self.rules.patience

    def forget(self, session_id: str) -> None:
        """Forget a session, so that it is watched anew."""
        self._seen.pop(session_id, None)
