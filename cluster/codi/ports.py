"""What both sides know of a container's ports.

Nothing but the standard library: CODI ships this file into containers.
"""

from __future__ import annotations

HIDDEN_PORTS: frozenset[int] = frozenset()
"""What the platform itself listens on inside, at the loopback: neither listed nor reached from outside."""
