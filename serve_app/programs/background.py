"""Programs of a session by name: as their container knows them, and as their journal does without one.

The journal has every one that was ever acknowledged: which request it was, what it printed, how it ended.
The container says which of them run. One that neither runs nor has ended was *lost* with its container.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Literal

from actors.core.errors.base import CoditectError
from actors.core.errors.requests import AlreadyExists, KeyReused, NotFound
from actors.core.records.sessions import Route, SessionPhase, SessionRecord
from actors.core.records.terminals import TerminalRecord
from cluster.codi.programs.background import KEY_PREFIX, UNKNOWN_EXIT, Description, digest_of
from cluster.codi.terminals.frames import BadFrame, check_name
from serve_app.ingress import Ingress
from serve_app.schemas.programs import NamedProcess, NewProcess

State = Literal["running", "exited", "lost"]
_Found = dict[str, Any]
_MAY_RUN_ON = frozenset({SessionPhase.STARTING, SessionPhase.READY, SessionPhase.RECOVERING})
"""Phases of a session whose container may be the one before: it is waited for, to be told."""

_LOOK_SECONDS = 5.0
_FOLLOW_SECONDS = 25.0
_PAGE = 256 << 10
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Known:
    """A program's record, and the session that it is of."""

    session: SessionRecord
    record: TerminalRecord

    @property
    def name(self) -> str:
        return self.record.name.removeprefix(KEY_PREFIX)

    @property
    def may_run(self) -> bool:
        """True unless it has certainly ended, or was lost."""
        return (
            self.record.exit_code is None
            and self.session.phase is SessionPhase.READY
            and self.session.container_id == self.record.container_id
        )


class Background:
    """The calls about a session's programs by name."""

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress
        self._journal, self._codi = ingress.deps.journal, ingress.deps.codi

    async def start(self, session_id: str, asked: NewProcess, key: str | None) -> NamedProcess:
        """Start a program, or return the one that this request has started, however it is by now.

        Raises AlreadyExists for another one of that name, KeyReused if it is the key's.
        """
        tty = None if asked.tty is None else (asked.tty.cols, asked.tty.rows)
        record = await self._journal.terminal(session_id, KEY_PREFIX + asked.name)
        if record is None or record.deleted:
            await self._ingress.gateway.on_container(
                session_id,
                lambda route: self._codi.start_background(
                    route,
                    asked.name,
                    asked.argv,
                    cwd=asked.cwd,
                    env=asked.env,
                    tty=tty,
                    key=key,
                ),
            )
        else:
            known = Description.parse(record.program or "")
            if known.digest != digest_of(asked.argv, asked.cwd, asked.env, tty):
                if key is not None and known.key == key:
                    raise KeyReused(f"process {asked.name!r}")
                raise AlreadyExists("process", asked.name)
        return await self.get(session_id, asked.name)

    async def page(
        self, session_id: str, after: str, limit: int
    ) -> tuple[list[NamedProcess], str | None]:
        """Return programs behind a name, in their order, and the name to go on behind. Wakes nothing."""
        session = await self._ingress.gateway.view(session_id)
        records = await self._journal.programs(session_id)
        behind = [each for each in records if each.name > KEY_PREFIX + after][: limit + 1]
        known = [_Known(session, record) for record in behind[:limit]]
        looks = await self._look(session, any(each.may_run for each in known))
        shown = [_described(each, _of(each, looks)) for each in known]
        return shown, known[-1].name if len(behind) > limit else None

    async def get(self, session_id: str, name: str) -> NamedProcess:
        """Return how a program is. Wakes nothing. Raises NotFound."""
        known = await self._known(session_id, name)
        looks = await self._look(known.session, known.may_run)
        return _described(known, _of(known, looks))

    async def wait(self, session_id: str, name: str, seconds: float) -> NamedProcess:
        """Return how a program is at its end, or after the time."""
        known = await self._known(session_id, name)
        found = await self._moved(known, seconds, offset=None) if known.may_run else None
        if found is not None and not found["running"]:
            # Its journal hears of the end a moment later.
            return _described(await self._known(session_id, name), found)
        return await self.get(session_id, name)

    async def signal(self, session_id: str, name: str, signal: str) -> None:
        """Signal a program; nothing once it has ended. Raises NotFound, InvalidArgument."""
        if (known := await self._known(session_id, name)).may_run:
            await self._ingress.gateway.on_container(
                session_id, lambda route: self._codi.signal_background(route, known.name, signal)
            )

    async def delete(self, session_id: str, name: str) -> None:
        """Kill a program and forget it and its output. Raises NotFound."""
        known = await self._known(session_id, name)
        if known.session.phase in _MAY_RUN_ON:

            async def forget(route: Route) -> None:
                try:
                    await self._codi.delete_background(route, known.name)
                except NotFound:
                    return  # of another container

            await self._ingress.gateway.on_container(session_id, forget)
        now = self._ingress.deps.clock.now()
        await self._journal.delete_terminal(session_id, known.record.name, now)

    async def record(self, session_id: str, name: str) -> TerminalRecord:
        """Return a program's record. Raises NotFound."""
        return (await self._known(session_id, name)).record

    async def follow(self, session_id: str, name: str, offset: int) -> AsyncGenerator[bytes]:
        """Yield kept output from ``offset`` on as it comes, to the program's end, or its container's.

        Ends early where what comes next is not kept any more: a reader that slow asks again.
        """
        while True:
            known = await self._known(session_id, name)
            # Before what it has printed is read: behind its end there is nothing more.
            over = not known.may_run
            begun = offset
            while pieces := await self._journal.output(
                session_id, known.record.name, offset, _PAGE
            ):
                for begin, data in pieces:
                    if begin != offset:
                        return
                    offset += len(data)
                    yield data
            if over or known.record.start > offset:
                return
            if offset == begun:
                found = await self._moved(known, _FOLLOW_SECONDS, offset=offset)
                if found is None or (not found["running"] and found["kept"] <= offset):
                    return

    async def _known(self, session_id: str, name: str) -> _Known:
        try:
            check_name(name)
        except BadFrame:
            raise NotFound("process", name) from None
        record = await self._journal.terminal(session_id, KEY_PREFIX + name)
        if record is None or record.deleted:
            raise NotFound("process", name)
        return _Known(await self._ingress.gateway.view(session_id), record)

    async def _look(self, session: SessionRecord, wanted: bool) -> dict[str, _Found] | None:
        """Return how the container says that its programs are; None while that cannot be had."""
        if not wanted:
            return {}
        found = await self._ingress.gateway.look_into(
            session, self._codi.all_background, _LOOK_SECONDS
        )
        return None if found is None else {each["name"]: each for each in found}

    async def _moved(self, known: _Known, seconds: float, *, offset: int | None) -> _Found | None:
        """Wait for output, or the end; None when the container does not know it, or is another one."""
        gateway, session_id = self._ingress.gateway, known.session.session_id
        try:
            route = await gateway.route(session_id)
            if route.container_id != known.record.container_id:
                return None
            return await self._codi.wait_for_background(route, known.name, seconds, offset=offset)
        except NotFound:
            return None
        except CoditectError:
            # It is being replaced, or looked at too early: what the store says of it decides.
            gateway.forget(session_id)
            await self._ingress.deps.clock.sleep(_PAUSE_SECONDS)
            return {"running": True}


def _of(known: _Known, looks: dict[str, _Found] | None) -> _Found | None:
    """Return how a program is in its container, which runs it as far as nobody knows better."""
    return {"running": True} if looks is None else looks.get(known.name)


def _described(known: _Known, found: _Found | None) -> NamedProcess:
    """Return a program; ``found`` is how its container says that it is, None if it does not know it."""
    record, program = known.record, Description.parse(known.record.program or "")
    state: State = "lost"
    code = record.exit_code
    if code is None and known.may_run and found is not None:
        state = "running"
        code = None if found["running"] else found["exit_code"]
    if code is not None:
        state = "exited"
    return NamedProcess(
        name=known.name,
        command=program.command,
        state=state,
        exit_code=None if code == UNKNOWN_EXIT else code,
        tty=program.tty,
        started_at=program.started_at,
        start_offset=record.start,
        end_offset=record.end,
    )
