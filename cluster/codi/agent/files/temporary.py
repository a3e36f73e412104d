"""Names of files on their way into the workspace; no name that people give is taken for one.

The user's directory is the only one on the same file system as the user's files, so what is to be renamed
into place has a name there for a moment. Such a name carries a digest of itself: no prefix is taken away
from people, and none of theirs is taken for one of these by accident. Whoever makes one on purpose leaves
out a file of their own, which their receipt says.
"""

from __future__ import annotations

import os
import re
from hashlib import blake2s

_PREFIX = b".codi-"
_NAME = re.compile(re.escape(_PREFIX) + rb"([0-9a-f]{16})([0-9a-f]{16})", re.ASCII)


def new_name() -> bytes:
    """Return a name that nobody else has."""
    random = os.urandom(8).hex().encode()
    return _PREFIX + random + _digest(random)


def is_temporary(name: bytes) -> bool:
    """Return whether a name is one of these; true of no other, but for one in 2⁶⁴."""
    found = _NAME.fullmatch(name)
    return found is not None and _digest(found[1]) == found[2]


def _digest(random: bytes) -> bytes:
    return blake2s(random, digest_size=8, person=b"coditect").hexdigest().encode()
