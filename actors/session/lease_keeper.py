"""Keeps an owner's lease: renews it while the session is held, and lets nobody act without it.

``actors.core.lease`` has the rules. A store that does not answer costs the owner its lease, and the owner
then does nothing that the epoch does not fence; as soon as a renewal is committed again it goes on, since
nobody has taken the session meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import logging

from actors.core.errors.base import CoditectError, Unavailable
from actors.core.errors.sessions import Fenced, NotBound
from actors.core.lease import Lease, LeaseRules
from actors.core.ports.clock import Clock
from actors.session.record_writer import WRITE_SECONDS, RecordWriter

logger = logging.getLogger(__name__)


class LeaseKeeper:
    """One activation's lease. ``run`` is a task of its owner."""

    def __init__(self, writer: RecordWriter, clock: Clock, rules: LeaseRules) -> None:
        self._writer = writer
        self._clock = clock
        self._lease = Lease(rules)
        self._renewed = asyncio.Event()

    async def run(self) -> None:
        """Renew until the activation ends. Raises Fenced when somebody newer rules."""
        rules = self._lease.rules
        for number in itertools.count():
            sent_at = self._clock.monotonic()
            try:
                await self._writer.renew_lease(number)
            except Fenced:
                raise
            except NotBound:
                return
            except (CoditectError, OSError) as error:
                logger.warning("the lease of a session is not renewed: %s", error)
            else:
                self._lease.renewed(sent_at)
                renewed, self._renewed = self._renewed, asyncio.Event()
                renewed.set()
            took = self._clock.monotonic() - sent_at
            await self._clock.sleep(max(rules.renew_every / 4, rules.renew_every - took))

    def give_up(self) -> None:
        """Hold it no more until the next renewal."""
        self._lease = Lease(self._lease.rules)

    @property
    def has_run_out(self) -> bool:
        """True if the lease was held once and is not at this moment."""
        return self._lease.has_run_out(self._clock.monotonic())

    async def hold(self) -> None:
        """Return when the owner may act; call it right before. Raises Unavailable when it may not."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                while not self._lease.holds(self._clock.monotonic()):
                    await self._renewed.wait()
        except TimeoutError:
            raise Unavailable("lease", "it has run out and cannot be renewed") from None
