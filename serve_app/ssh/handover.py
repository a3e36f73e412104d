"""What a replica of the ingress says of a client whose bytes it carries to the gateway: who it is. Pure.

One frame, four bytes of length and JSON, and behind it the SSH protocol. Nobody but the server's own user
reaches the socket, so what is said is believed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

_LENGTH = 4
MAX_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Entry:
    """A client that has proved who it is, and the session that it may enter.

    ``family`` and ``generation`` are those of its login, ``address`` and ``agent`` for the audit trail.
    """

    user_id: str
    family: str
    generation: int
    session_id: str
    address: str
    agent: str

    def encode(self) -> bytes:
        """Return the frame."""
        body = json.dumps(asdict(self)).encode()
        return len(body).to_bytes(_LENGTH, "big") + body

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read what is behind the length. Raises ValueError."""
        try:
            return cls(**json.loads(body))
        except (TypeError, ValueError) as error:
            raise ValueError(f"no handover: {error}") from None


def split(data: bytes) -> tuple[Entry, bytes] | None:
    """Return the entry and what came behind it; None while it is not whole. Raises ValueError."""
    if len(data) < _LENGTH:
        return None
    size = int.from_bytes(data[:_LENGTH], "big")
    if size > MAX_BYTES:
        raise ValueError("a handover is too long")
    end = _LENGTH + size
    return (Entry.decode(data[_LENGTH:end]), data[end:]) if len(data) >= end else None
