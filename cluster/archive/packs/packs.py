"""Chunks in their stored form, and packs of them. Pure but for compression.

Small files would be an object each, and an fsync or a round trip each; so chunks are packed. A pack has
no table of its own: where a chunk is, the store says.
"""

from __future__ import annotations

import threading
from typing import Any

import zstandard
from blake3 import blake3

from actors.core.errors.base import Unavailable
from cluster.store.layers.workspaces.chunks import Inline, Location, Packed

PACK_BYTES = 16 << 20
INLINE_BYTES = 32 << 10
MAX_UPLOAD_AGE = 1800.0
"""For how many seconds a pack may be in no manifest before its writer has to store its chunks anew."""

_LEVEL = 1
_RAW, _ZSTD = b"\x00", b"\x01"
_MAX_CHUNK = 16 << 20
_contexts = threading.local()


def name_of(data: bytes) -> bytes:
    """Return a chunk's name."""
    return blake3(data).digest()


def pack(data: bytes) -> bytes:
    """Return a chunk's stored form, compressed when that helps."""
    packed = _context(zstandard.ZstdCompressor, level=_LEVEL).compress(data)
    return _ZSTD + packed if len(packed) < len(data) else _RAW + data


def unpack(stored: bytes, name: bytes) -> bytes:
    """Return the chunk. Raises Unavailable when it is not what its name says."""
    body = stored[1:]
    try:
        if stored[:1] == _ZSTD:
            body = _context(zstandard.ZstdDecompressor).decompress(body, max_output_size=_MAX_CHUNK)
    except zstandard.ZstdError as error:
        raise Unavailable("chunk store", f"chunk {name.hex()} is damaged: {error}") from error
    if name_of(body) != name:
        raise Unavailable("chunk store", f"chunk {name.hex()} is damaged")
    return body


def _context(kind: Any, **options: Any) -> Any:
    """Return this thread's own: to make one takes longer than to compress a small file."""
    found = getattr(_contexts, kind.__name__, None)
    if found is None:
        found = kind(**options)
        setattr(_contexts, kind.__name__, found)
    return found


class Batch:
    """New chunks on their way into one pack, or straight into the store when they are few bytes."""

    def __init__(self, pack_name: str) -> None:
        self.pack_name = pack_name
        self._parts: list[bytes] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        self.size = 0

    def __contains__(self, name: bytes) -> bool:
        return name in self._places

    def add(self, name: bytes, stored: bytes) -> None:
        """Add a chunk in its stored form."""
        if name not in self._places:
            self._places[name] = (self.size, len(stored))
            self._parts.append(stored)
            self.size += len(stored)

    @property
    def is_full(self) -> bool:
        """True when it is time to store it."""
        return self.size >= PACK_BYTES

    def sealed(self) -> tuple[dict[bytes, Location], bytes]:
        """Return where each chunk will be, and the pack's bytes; empty when the store takes them."""
        if self.size > INLINE_BYTES:
            places, content = self.packed()
            return dict(places), content
        return {
            name: Inline(part) for name, part in zip(self._places, self._parts, strict=True)
        }, b""

    def packed(self) -> tuple[dict[bytes, Packed], bytes]:
        """Return where each chunk will be in the pack, and its bytes, however few."""
        return {
            name: Packed(self.pack_name, offset, size)
            for name, (offset, size) in self._places.items()
        }, b"".join(self._parts)
