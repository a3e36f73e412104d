"""Sends questions that come close together as one call: the cost of a call is paid once for all.

A call to another process costs far more than a question to the store. Questions of one turn of the
event loop go together at once; while ``in_flight`` calls are under way, later ones gather until one of
them is back (as in group commit). So an idle process waits for nobody, and the busier it is, the fewer
calls it makes for each question.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

IN_FLIGHT = 4
BATCH = 64


class Batcher(Generic[Q, A]):
    """Carries questions in batches. Belongs to one event loop.

    ``send`` answers as many questions as it is given, in their order, an error in place of an answer
    where one failed; what it raises is told to everybody in the batch. It must end within a limit of
    its own. Who asks bounds how many wait.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Q]], Awaitable[Sequence[A | BaseException]]],
        *,
        in_flight: int = IN_FLIGHT,
        batch: int = BATCH,
    ) -> None:
        self._send = send
        self._in_flight = in_flight
        self._batch = batch
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def ask(self, question: Q) -> A:
        """Return the answer. Cancelled before it was sent, the question is never sent."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        self._waiting.append((question, future))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        return await future

    def _flush(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._calls) < self._in_flight:
            batch: list[tuple[Q, asyncio.Future[A]]] = []
            while self._waiting and len(batch) < self._batch:
                entry = self._waiting.popleft()
                if not entry[1].done():
                    batch.append(entry)
            if batch:
                call = asyncio.get_running_loop().create_task(self._carry(batch))
                self._calls.add(call)
                call.add_done_callback(self._returned)

    async def _carry(self, batch: list[tuple[Q, asyncio.Future[A]]]) -> None:
        answers: Sequence[A | BaseException]
        try:
            answers = await self._send([question for question, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, those who asked have to hear it
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def _returned(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if call.cancelled():
            return
        call.result()
        self._flush()
