"""FoundationDB's tuple layer, which its package offers without the native library.

Import it from here: old versions of the package (7.1, which fits all clients) bring a copy of
``six`` that puts a finder of Python 2's kind among the interpreter's, where everybody who walks
through them stumbles. Nothing in the package needs it.
"""

from __future__ import annotations

import sys

from fdb.tuple import pack, unpack

__all__ = ["pack", "unpack"]

sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
