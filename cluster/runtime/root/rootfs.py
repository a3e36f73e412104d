"""The mounts of a container, as bubblewrap's options (bwrap(1)).

Only ``/usr`` and copies of the harmless part of ``/etc`` come from the machine, read-only.
``/etc/passwd`` and its like are our own. What can be written is either the workspace or memory
with a limit. ``mounts`` looks at the machine only through the functions that it is given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from cluster.egress.doorway import INSIDE

WORKSPACE = "/workspace"
USER_ID = 1000
AGENT_ID = 999
"""The real user of CODI, whom no program of the container's user can signal (kill(2))."""

USER_NAME = "user"
HOST_NAME = "workspace"

ETC_FILES: Mapping[str, str] = {
    "passwd": (
        "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
        f"codi:x:{AGENT_ID}:{USER_ID}:CODI:/nonexistent:/usr/sbin/nologin\n"
        f"{USER_NAME}:x:{USER_ID}:{USER_ID}:{USER_NAME}:{WORKSPACE}:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "group": f"root:x:0:\ntty:x:5:\n{USER_NAME}:x:{USER_ID}:\nnogroup:x:65534:\n",
    "hosts": f"127.0.0.1 localhost {HOST_NAME}\n::1 localhost ip6-localhost {HOST_NAME}\n",
    "host.conf": "multi on\n",
    "hostname": f"{HOST_NAME}\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    # Debian's sets PATH anew, without ~/.local/bin.
    "profile": (
        "# /etc/profile: read at the beginning of login shells, before ~/.profile.\n"
        "for script in /etc/profile.d/*.sh; do\n"
        '  [ -r "$script" ] && . "$script"\n'
        "done\n"
        "unset script\n"
        'if [ -n "${BASH_VERSION-}" ] && [ -n "${PS1-}" ] && [ -r /etc/bash.bashrc ]; then\n'
        "  . /etc/bash.bashrc\n"
        "fi\n"
    ),
    "resolv.conf": "",
    # Those that people may choose, where /usr has them; CODI looks.
    "shells": "".join(
        f"{place}/{shell}\n"
        for shell in ("sh", "bash", "dash", "zsh", "fish", "ksh", "mksh")
        for place in ("/bin", "/usr/bin")
    ),
}
"""Files of ``/etc`` that every container gets instead of the machine's."""

AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_TRUSTING = ("NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")

_TOOLS: Mapping[str, Sequence[str]] = {
    "EDITOR": ("/usr/bin/nano", "/usr/bin/vim", "/usr/bin/vi"),
    "PAGER": ("/usr/bin/less", "/usr/bin/more"),
}
"""Variables that name a program, and the programs, the first choice first."""

# The container's own, made anew for each: nothing here is a file of the machine.
TMP, SHM, PTS = "/tmp", "/dev/shm", "/dev/pts"  # noqa: S108
_VAR_TMP = "/var/tmp"  # noqa: S108

_USR_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True, slots=True)
class Layout:
    """Mounts that differ from container to container. Sizes are bytes of memory-backed file systems.

    Without a ``workspace`` there is an empty directory, over which one is mounted later.
    """

    workspace: str | None
    etc: str
    read_only: Sequence[str] = ()
    tmp_bytes: int = 512 << 20
    shm_bytes: int = 64 << 20
    kernel: Sequence[str] = ()
    """Options that cover what the kernel shows in ``/proc`` and ``/sys``; see ``view.py``."""
    egress: str | None = None
    """The directory in which the container meets the egress gateway."""


def mounts(
    layout: Layout, *, exists: Callable[[str], bool], read_link: Callable[[str], str | None]
) -> list[str]:
    """Return bubblewrap's options for everything that is mounted, in order.

    ``exists`` and ``read_link`` look at the machine's paths (``read_link`` answers None for what
    is no link). ``layout.read_only`` paths appear under their own names.
    """
    options = ["--ro-bind", "/usr", "/usr"]
    for name in _USR_LINKS:
        target = read_link(f"/{name}")
        if target is not None:
            options += ["--symlink", target, f"/{name}"]
        elif exists(f"/{name}"):
            options += ["--ro-bind", f"/{name}", f"/{name}"]
    options += ["--ro-bind", layout.etc, "/etc"]
    options += ["--proc", "/proc", *layout.kernel]
    options += ["--dev", "/dev", *_tmpfs(SHM, layout.shm_bytes), "--remount-ro", "/dev"]
    options += _tmpfs(TMP, layout.tmp_bytes)
    options += _directories("/run", "/var/lib")
    options += ["--symlink", "../tmp", _VAR_TMP, "--symlink", "../run", "/var/run"]
    if layout.egress is not None:
        options += [*_directories(*_parents(INSIDE)), "--ro-bind", layout.egress, INSIDE]
    for path in layout.read_only:
        if not path.startswith("/usr/"):
            options += _directories(*_parents(path))
            options += ["--ro-bind", path, path]
    if layout.workspace is None:
        options += _directories(WORKSPACE)
    else:
        options += ["--bind", layout.workspace, WORKSPACE]
    return [*options, "--remount-ro", "/"]


def read_link(path: str) -> str | None:
    """Return where a link of this machine points, or None for what is no link."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def environment(extra: Mapping[str, str], *, exists: Callable[[str], bool]) -> list[str]:
    """Return bubblewrap's options for a clean environment; ``extra`` wins over what is usual.

    ``exists`` looks at the machine's paths.
    """
    usual = {
        name: path.rpartition("/")[2]
        for name, paths in _TOOLS.items()
        for path in paths[::-1]
        if exists(path)
    }
    # Programs that bring authorities of their own trust those that the machine does, too.
    trusted = dict.fromkeys(_TRUSTING, AUTHORITIES) if exists(AUTHORITIES) else {}
    variables = (
        usual
        | trusted
        | {
            "HOME": WORKSPACE,
            "LANG": "C.UTF-8",
            "LOGNAME": USER_NAME,
            "PATH": f"{WORKSPACE}/.local/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
            ":/usr/local/sbin:/usr/sbin:/sbin",
            # Debian's pip refuses --user lest it disturb the system's packages; here it cannot.
            "PIP_BREAK_SYSTEM_PACKAGES": "1",
            "SHELL": "/bin/bash",
            "TERM": "xterm-256color",
            "USER": USER_NAME,
        }
        | dict(extra)
    )
    options = ["--clearenv"]
    for name, value in variables.items():
        options += ["--setenv", name, value]
    return options


def _tmpfs(path: str, size: int) -> list[str]:
    return ["--perms", "1777", "--size", str(size), "--tmpfs", path]


def _directories(*paths: str) -> list[str]:
    options: list[str] = []
    for path in paths:
        for parent in (*_parents(path), path):
            options += ["--perms", "0755", "--dir", parent]
    return options


def _parents(path: str) -> list[str]:
    return [str(parent) for parent in reversed(PurePosixPath(path).parents) if str(parent) != "/"]
