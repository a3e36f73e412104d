"""A user namespace for a container that root starts.

bubblewrap started by root would map the container's user to the machine's root. Such a process
has no capability, but files of ``/proc/sys`` look at the user alone, and so would anything that
leaks in by mistake. So root makes the namespace itself: in it, user 1000 is ``HOST_ID`` outside,
an id that owns nothing. Root is mapped too, because set-up needs it; nobody in the container can
become it (``no_new_privs``, no set-uid mounts, an empty bounding set).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.errors import Unavailable
from cluster.runtime.rootfs import USER_ID

HOST_ID = 1_900_000_000
"""The container's user and group outside, when root starts it. Above every range of systemd
(uids-gids.7) and below 2**31; its processes and files are nobody else's."""

_HOLDER = "echo && read -r _"


@contextmanager
def user_namespace() -> Iterator[int]:
    """Make a namespace and yield its descriptor.

    Needs root and ``unshare`` of util-linux. Takes about 2 ms. Raises Unavailable.
    """
    try:
        with subprocess.Popen(
            ["unshare", "--user", "sh", "-c", _HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as holder:
            fd = _prepare(holder)
    except OSError as error:
        raise Unavailable("user namespaces", str(error)) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _prepare(holder: subprocess.Popen[bytes]) -> int:
    assert holder.stdout is not None
    if not holder.stdout.readline():
        raise Unavailable("user namespaces", "unshare --user failed")
    fd = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        mapping = f"0 0 1\n{USER_ID} {HOST_ID} 1\n"
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{name}").write_text(mapping, encoding="ascii")
    except BaseException:
        os.close(fd)
        raise
    return fd
