"""The calls about programs by name: ``/programs``."""

from __future__ import annotations

import time

from cluster.codi.agent.background.programs import BackgroundPrograms
from cluster.codi.agent.errors import AgentError, invalid
from cluster.codi.agent.exchange import Exchange
from cluster.codi.agent.files import naming
from cluster.codi.agent.programs.starting import Wanted
from cluster.codi.programs.frames import signal_number, tty_of
from cluster.codi.terminals.frames import MAX_OFFSET, BadFrame

MAX_WAIT_SECONDS = 600.0


class BackgroundRoutes:
    """Handlers for the table in ``routes``; the rest of a path is a name."""

    def __init__(self, programs: BackgroundPrograms) -> None:
        self._programs = programs

    async def get(self, exchange: Exchange, rest: bytes) -> None:
        """``GET /programs`` and ``GET /programs/{name}?seconds=&offset=``.

        With ``seconds`` it is answered when output beyond ``offset`` is kept, or at the end; without an
        offset at the end; and when the time is over.
        """
        if not rest:
            exchange.answer(200, self._programs.all)
            return
        name, query = _name(rest), naming.query(exchange.query)
        program = self._programs.get(name)
        if "seconds" in query:
            seconds = _number("seconds", query["seconds"], MAX_WAIT_SECONDS)
            offset = query.get("offset")
            beyond = None if offset is None else int(_number("offset", offset, MAX_OFFSET))
            await exchange.while_connected(program.moved(beyond, seconds))
        exchange.answer(200, self._programs.describe(name))

    async def post(self, exchange: Exchange, rest: bytes) -> None:
        """``POST /programs`` starts one, ``POST /programs/{name}`` signals it."""
        body = await exchange.json()
        if rest:
            try:
                number = signal_number(body.get("signal"))
            except BadFrame as error:
                raise invalid(str(error)) from None
            self._programs.get(_name(rest)).signal(number)
            exchange.answer(200, {})
            return
        name, key = body.get("name"), body.get("key")
        if not isinstance(name, str) or not (key is None or isinstance(key, str)):
            raise invalid("name: a text")
        wanted = Wanted.parse(body.get("argv"), body.get("cwd"), body.get("env"))
        try:
            tty = tty_of(body)
        except BadFrame as error:
            raise invalid(str(error)) from None
        try:
            created = await self._programs.start(name, wanted, tty, started_at=time.time(), key=key)
        except TimeoutError:
            raise AgentError(503, "exhausted", "the journal is not there") from None
        exchange.answer(201 if created else 200, self._programs.describe(name))

    async def delete(self, exchange: Exchange, rest: bytes) -> None:
        """``DELETE /programs/{name}``."""
        await self._programs.delete(_name(rest))
        exchange.answer(200, {})


def _name(rest: bytes) -> str:
    return rest.decode("utf-8", "replace")


def _number(name: str, value: bytes, most: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise invalid(f"{name}: a number from 0 to {most:g}")
    return number
