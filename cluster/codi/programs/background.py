"""Words that CODI, the server and the journal share about programs by name. No I/O.

Nothing but the standard library: CODI ships this file into containers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

KEY_PREFIX = "processes/"
"""The journal keeps a program as a terminal of this name and its own; a terminal's has no slash."""

UNKNOWN_EXIT = -256
"""The exit code of a program whose CODI was killed meanwhile: nobody learns it."""

_MAX_COMMAND = 2 << 10


class Description(NamedTuple):
    """What the journal keeps of a program: the beginning of its command, and which request it was."""

    command: str
    digest: str
    tty: bool
    started_at: float
    key: str | None = None

    @classmethod
    def of(
        cls,
        argv: Sequence[str],
        cwd: str | None,
        env: dict[str, str] | None,
        tty: tuple[int, int] | None,
        started_at: float,
        key: str | None,
    ) -> Description:
        """Describe a request; equal requests have equal digests."""
        digest = digest_of(argv, cwd, env, tty)
        command = " ".join(argv).encode("utf-8", "backslashreplace")[:_MAX_COMMAND]
        shown = command.decode("utf-8", "ignore")
        return cls(shown, digest, tty is not None, started_at, key)

    def encode(self) -> str:
        """Return it as JSON."""
        return json.dumps(self._asdict(), separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Description:
        """Return what ``encode`` was given; what cannot be read is empty: a container may have written it."""
        try:
            found: Any = json.loads(text)
            key = found.get("key")
            return cls(
                str(found["command"])[:_MAX_COMMAND],
                str(found["digest"]),
                bool(found["tty"]),
                float(found["started_at"]),
                None if key is None else str(key),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls("", "", tty=False, started_at=0.0)


def digest_of(
    argv: Sequence[str],
    cwd: str | None,
    env: dict[str, str] | None,
    tty: tuple[int, int] | None,
) -> str:
    """Return what tells requests apart."""
    request = [list(argv), cwd or "", sorted((env or {}).items()), list(tty or ())]
    return blake2b(json.dumps(request).encode(), digest_size=16).hexdigest()
