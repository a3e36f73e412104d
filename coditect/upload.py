"""What is uploaded piece by piece, and can perhaps be sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import BinaryIO

PIECE_BYTES = 256 << 10


class Upload:
    """A body of a request from an open file, or from an asynchronous iterator of pieces."""

    def __init__(self, source: BinaryIO | AsyncIterator[bytes]) -> None:
        self._source = source
        self._start = (
            source.tell() if not isinstance(source, AsyncIterator) and source.seekable() else None
        )

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield what is left of the source."""
        if isinstance(self._source, AsyncIterator):
            async for piece in self._source:
                yield piece
            return
        while piece := await asyncio.to_thread(self._source.read, PIECE_BYTES):
            yield piece

    def rewind(self) -> bool:
        """Go back to where the source stood at first; say whether that can be done."""
        if self._start is None or isinstance(self._source, AsyncIterator):
            return False
        self._source.seek(self._start)
        return True
