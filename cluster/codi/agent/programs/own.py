"""Programs that CODI brings along, by names that no file can be found by: ``codi:`` and what it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_MODULES = {
    "codi:connect": "cluster.codi.agent.programs.connect",
    "codi:listen": "cluster.codi.agent.programs.listen",
    "codi:sftp-server": "cluster.codi.agent.sftp.server",
}
_STAGE = os.path.realpath(__file__).rsplit("/", 5)[0]  # without pathlib, which CODI does not import


def resolved(argv: Sequence[str]) -> list[str]:
    """Return the command behind a name of ours; any other command as it is."""
    module = _MODULES.get(argv[0])
    if module is None:
        return list(argv)
    code = f"import sys; sys.path.insert(0, {_STAGE!r}); from {module} import main; main()"
    # As CODI itself is started: no environment, no site, nothing written.
    return [sys.executable, "-I", "-S", "-B", "-c", code, *argv[1:]]
