"""A program whose output is streamed as server-sent events, to its end or its limit."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncGenerator, Callable

from actors.core.errors.base import CoditectError
from cluster.codi.programs.client import Program
from cluster.codi.programs.frames import STDERR, STDOUT
from serve_app.http import problems
from serve_app.http.server_events import event

NAMES = {STDOUT: "stdout", STDERR: "stderr"}
_KILL_SECONDS = 5.0


async def events_of(
    program: Program,
    stdin: str | None,
    *,
    limit_seconds: float,
    instance: str,
    monotonic: Callable[[], float],
) -> AsyncGenerator[bytes]:
    """Yield ``started``, ``stdout`` and ``stderr`` as they come, then ``exit``; or ``error``, a problem.

    Whoever stops iterating lets go of the program, which is killed, as it is at its limit.
    """
    began = monotonic()
    feeding = asyncio.create_task(_feed(program, stdin), name="input of a program")
    decoders = {
        channel: codecs.getincrementaldecoder("utf-8")("surrogateescape") for channel in NAMES
    }
    timed_out = False
    try:
        yield event("started", {"pid": program.pid})
        while True:
            left = began + limit_seconds - monotonic()
            try:
                async with asyncio.timeout(_KILL_SECONDS if timed_out else max(left, 0.0)):
                    output = await program.read()
            except TimeoutError:
                if timed_out:
                    break
                timed_out = True
                await program.signal("KILL")
                continue
            if output is None:
                break
            # Text is cut between characters, so that each event can be shown by itself.
            text = decoders[output.channel].decode(output.data)
            if text:
                yield event(NAMES[output.channel], {"text": text})
        for channel, decoder in decoders.items():
            if rest := decoder.decode(b"", final=True):
                yield event(NAMES[channel], {"text": rest})
        ended = program.ended
        yield event(
            "exit",
            {
                "exit_code": None if ended is None else ended.exit_code,
                "signal": None if ended is None else ended.signal,
                "timed_out": timed_out,
                "duration_seconds": round(monotonic() - began, 6),
            },
        )
    except CoditectError as error:
        yield event("error", problems.from_error(error, instance)[0])
    finally:
        feeding.cancel()
        program.abort()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(program: Program, stdin: str | None) -> None:
    if stdin:
        await program.write(stdin.encode("utf-8", "surrogateescape"))
    await program.end_input()
