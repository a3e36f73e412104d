"""Bodies that are uploaded piece by piece, and can perhaps be sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import BinaryIO, cast

PIECE_BYTES = 256 << 10


class Upload:
    """A body of a request from an open file, or from an iterator of pieces."""

    def __init__(self, source: BinaryIO | Iterator[bytes] | AsyncIterator[bytes]) -> None:
        self._source = source
        # An open file is an iterator as well, of lines.
        self._file = file = cast("BinaryIO", source) if hasattr(source, "read") else None
        self._start = file.tell() if file is not None and file.seekable() else None

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield what is left of the source; what may block is read in a thread."""
        if isinstance(self._source, AsyncIterator):
            async for each in self._source:
                yield each
            return
        file, source = self._file, self._source
        pieces = iter(partial(file.read, PIECE_BYTES), b"") if file is not None else source
        while (piece := await asyncio.to_thread(lambda: next(pieces, None))) is not None:
            yield piece

    def rewind(self) -> bool:
        """Go back to where the source stood at first; say whether that can be done."""
        if self._file is None or self._start is None:
            return False
        self._file.seek(self._start)
        return True
