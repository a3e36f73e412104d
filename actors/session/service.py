"""The calls of a session actor: checks arguments, asks the activation, waits. Nothing of Ray here.

Every call names its session and raises NotBound when this actor does not hold it (``host``
says how it comes to one). All inputs are bounded; every wait has a limit. ``bind``, ``hibernate``,
``resume`` and ``end`` are idempotent by nature: they take a key like every mutating call and need none.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import InvalidArgument, PreconditionFailed
from actors.core.errors.sessions import LaunchFailed, SessionEnded
from actors.core.records.containers import ContainerRecord
from actors.core.records.idleness import Quiet
from actors.core.records.sessions import Route, SessionPhase, SessionRecord
from actors.core.timing import within
from actors.session import messages
from actors.session.activation import Activation
from actors.session.executor import CODI_SECONDS
from actors.session.host import PASSIVATE_SECONDS, SessionHost
from actors.session.record_writer import WRITE_SECONDS
from actors.session.state import COMING_UP
from actors.session.workspace_state import check_patch, with_patch

MAX_ID = 128
MAX_KEY = 128
MAX_REASON = 500
MAX_WAIT_SECONDS = 60.0


class SessionService:
    """The calls of a session actor, each on the activation that its host holds."""

    async def _ready(self) -> SessionHost:
        """Return the host as soon as there is one. Raises DeadlineExceeded."""
        raise NotImplementedError

    async def bind(
        self,
        record: SessionRecord,
        container: ContainerRecord | None,
        key: str = "",
        rest_after: float | None = None,
    ) -> SessionRecord:
        """Hold a session that the store says this actor owns; see ``SessionHost.bind``."""
        return (await (await self._ready()).bind(record, container, rest_after)).view

    async def _held(self, session_id: str) -> Activation:
        _check_text("session_id", session_id, MAX_ID)
        return await (await self._ready()).held(session_id)

    async def _settled(self, session_id: str) -> Activation:
        """Return the activation once it is clear that it stays and is not ending."""
        held = await self._held(session_id)
        await held.until(
            lambda: not held.machine.passivating, "passivation", PASSIVATE_SECONDS + 1.0
        )
        if held.machine.phase in {SessionPhase.ENDING, SessionPhase.ENDED}:
            raise SessionEnded(session_id)
        held.require()
        return held

    # ---- questions ------------------------------------------------------------------------------

    async def view(self, session_id: str) -> SessionRecord:
        """Return the session as it is at this moment."""
        return (await self._held(session_id)).view

    async def route(
        self,
        session_id: str,
        newer_than_epoch: int = 0,
        timeout_seconds: float = 30.0,
    ) -> Route:
        """Wait for a container under an epoch newer than one that no longer works.

        Raises DeadlineExceeded, SessionEnded, PreconditionFailed when hibernated, LaunchFailed or
        ContainersExceeded when FAILED.
        """
        seconds = _check_wait(timeout_seconds)
        if not isinstance(newer_than_epoch, int):
            raise InvalidArgument("newer_than_epoch", "an epoch")
        held = await self._held(session_id)
        machine = held.machine
        if machine.ready and machine.epoch > newer_than_epoch:  # also while it goes to rest
            return held.route
        await self._settled(session_id)

        def decided() -> bool:
            _refuse_if_resting(held)
            return machine.ready and machine.epoch > newer_than_epoch

        await held.until(decided, "a ready container", seconds)
        return held.route

    # ---- requests -------------------------------------------------------------------------------

    async def wake(self, session_id: str) -> None:
        """Bring the session up for somebody who has come; does not wait. Idempotent.

        Unlike ``resume`` it refuses nothing: who may not have another container sees what is kept.
        """
        (await self._settled(session_id)).step(messages.ResumeRequested())

    async def hibernate(self, session_id: str, key: str = "") -> SessionRecord:
        """Stop the container and keep the session; returns when both are so. Idempotent."""
        held = await self._settled(session_id)
        held.step(messages.HibernateRequested())
        limit = held.rules.stop_timeout + WRITE_SECONDS
        phases = {SessionPhase.HIBERNATED, SessionPhase.ENDING}
        await held.until(lambda: held.machine.phase in phases and held.clean, "hibernation", limit)
        if held.machine.phase is SessionPhase.ENDING:
            raise SessionEnded(session_id)
        return held.view

    async def resume(self, session_id: str, key: str = "") -> SessionRecord:
        """Bring the session up; returns at once (``route`` waits). Idempotent.

        Raises ContainersExceeded when its user may not have another container now.
        """
        held = await self._settled(session_id)
        if held.machine.phase in {SessionPhase.HIBERNATED, SessionPhase.FAILED}:
            may = held.services.ledger.require_container(held.view, held.services.settings.quotas)
            await within(WRITE_SECONDS, "look at the user's containers", may)
        held.step(messages.ResumeRequested())
        return held.view

    async def end(self, session_id: str, key: str = "") -> None:
        """End the session with its container and workspace; returns when the store says so.

        The same call again raises NotBound: the session is gone.
        """
        held = await self._held(session_id)
        held.step(messages.EndRequested())
        ended = messages.ReleaseReason.ENDED
        limit = held.rules.end_timeout + WRITE_SECONDS
        await held.until(lambda: held.machine.released is ended, "end of the session", limit)

    async def container_lost(self, session_id: str, container_id: str, reason: str) -> None:
        """Take note that somebody else found the container dead or deaf. Idempotent."""
        _check_text("container_id", container_id, MAX_ID)
        held = await self._held(session_id)
        held.step(messages.ContainerLost(container_id, str(reason)[:MAX_REASON]))

    # ---- idleness -------------------------------------------------------------------------------

    async def sleep_if_quiet(self, session_id: str, container_id: str, quiet: Quiet) -> bool:
        """Hibernate if nothing has happened since that was decided; false if something has.

        CODI is closed first, in one step with the question whether it is quiet: what is typed from
        then on stays with whoever typed it, and goes to the next container. Raises DeadlineExceeded,
        Unavailable.
        """
        _check_text("container_id", container_id, MAX_ID)
        held = await self._settled(session_id)
        held.step(messages.Called())
        machine = held.machine
        await held.until(
            lambda: machine.ready or machine.phase not in COMING_UP,
            "a ready container",
            CODI_SECONDS,
        )
        if not machine.ready or machine.container_id != container_id:
            return False
        seconds = held.rules.stop_timeout
        try:
            with held.letting_go_if_fenced():
                seal = held.services.codi.seal(held.route, quiet, seconds)
                await within(CODI_SECONDS, "closing of the container", seal)
        except PreconditionFailed:
            return False
        if not machine.ready or machine.container_id != container_id:
            return False
        held.step(messages.HibernateRequested())
        return True

    # ---- state ----------------------------------------------------------------------------------

    async def patch_workspace_state(
        self, session_id: str, patch: dict[str, Any], key: str
    ) -> SessionRecord:
        """Apply a JSON merge patch (RFC 7396) to the workspace state; returns the session after commit.

        Raises InvalidArgument for the server's own keys, PayloadTooLarge beyond 64 kB.
        """
        _check_text("key", key, MAX_KEY)
        checked = check_patch(patch)
        held = await self._settled(session_id)
        held.step(messages.Called())

        try:
            with held.letting_go_if_fenced():
                await held.writer.update(partial(with_patch, patch=checked), key=f"patch:{key}")
        except OSError as error:
            raise Unavailable("store", str(error)) from error
        return held.view


def _refuse_if_resting(held: Activation) -> None:
    """Raise if no container will come by waiting."""
    machine = held.machine
    match machine.phase:
        case SessionPhase.ENDING | SessionPhase.ENDED:
            raise SessionEnded(held.session_id)
        case SessionPhase.HIBERNATED:
            raise PreconditionFailed("session", "ready", "hibernated")
        case SessionPhase.FAILED:
            if machine.refused is not None:
                raise machine.refused
            raise LaunchFailed(machine.container_id or "-", machine.failure or "unknown")
        case _:
            return


def _check_text(field: str, value: Any, limit: int) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= limit or "\0" in value:
        raise InvalidArgument(field, f"text of 1 to {limit} characters")


def _check_wait(seconds: Any) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise InvalidArgument("timeout_seconds", "a number of seconds ≥ 0")
    return min(float(seconds), MAX_WAIT_SECONDS)
