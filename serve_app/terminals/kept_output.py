"""What is kept of a terminal's output, or a program's, as the answer to a request."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import Response
from starlette.responses import StreamingResponse

from actors.core.ports.journal import Journal
from actors.core.records.terminals import TerminalRecord

OUTPUT_PAGE = 256 << 10
OUTPUT_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


async def kept_output(journal: Journal, known: TerminalRecord, offset: int) -> Response:
    """Return the bytes from ``offset`` on, as far as they are kept; the headers say which they are."""
    # Before the record, so that what is trimmed between the two is had already.
    first = await journal.output(known.session_id, known.name, offset, OUTPUT_PAGE)
    record = await journal.terminal(known.session_id, known.name) or known
    start = first[0][0] if first else min(max(offset, record.start), record.end)
    headers = {"x-output-start": str(start), "x-output-end": str(record.end)}
    return StreamingResponse(
        _pieces(journal, record, start, first),
        media_type="application/octet-stream",
        headers=OUTPUT_HEADERS | headers,
    )


async def _pieces(
    journal: Journal, record: TerminalRecord, start: int, pieces: list[tuple[int, bytes]]
) -> AsyncIterator[bytes]:
    """Yield the bytes up to the record's end; what is trimmed meanwhile ends the answer early.

    ``pieces`` are those that begin at ``start``, as far as they have been read.
    """
    while start < record.end:
        pieces = pieces or await journal.output(record.session_id, record.name, start, OUTPUT_PAGE)
        if not pieces or pieces[0][0] != start:
            return
        for begin, data in pieces:
            part = data[: record.end - begin]
            start = begin + len(part)
            if part:
                yield part
        pieces = []
