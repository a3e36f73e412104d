"""User namespaces that root makes: for a container, and for the owners of its files.

bubblewrap started by root would map the container's user to the machine's root. Such a process
has no capability, but files of ``/proc/sys`` look at the user alone, and so would anything that
leaks in by mistake. So root makes the namespace itself: in it, user 1000 is an id outside that owns
nothing and that no other container has. Root is mapped too, because set-up needs it; nobody in the
container can become it (``no_new_privs``, no set-uid mounts, an empty bounding set).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from actors.core.errors.base import Unavailable
from cluster.runtime.root.rootfs import AGENT_ID, USER_ID

_HOLDER = "echo && read -r _"


def user_namespace(host_id: int, agent_id: int) -> AbstractContextManager[int]:
    """Make the namespace of a container whose user is ``host_id`` outside; yield its descriptor.

    ``agent_id`` is CODI's real user there, whom no program inside can signal.

    That user makes it: what the kernel counts by namespace (inotify instances, queues, pending
    signals) it charges to the namespace's maker as well. See ``mapped`` for cost and errors.
    """
    return mapped({0: 0, AGENT_ID: agent_id, USER_ID: host_id}, made_by=host_id)


def owner_map(on_disk: int, host_id: int) -> AbstractContextManager[int]:
    """Make a namespace by which a mount shows files of ``on_disk`` as files of ``host_id``."""
    return mapped({on_disk: host_id}, made_by=host_id)


@contextmanager
def mapped(ids: Mapping[int, int], made_by: int) -> Iterator[int]:
    """Make a user namespace with a map of single ids, for users and groups; yield its descriptor.

    Needs root, ``setpriv`` and ``unshare`` of util-linux. Takes about 2 ms. Raises Unavailable.
    """
    # By a program and not by Popen's ``user``, for which Python copies this whole process (vfork(2)).
    become = ["setpriv", f"--reuid={made_by}", f"--regid={made_by}", "--clear-groups"]
    try:
        with subprocess.Popen(
            [*become, "unshare", "--user", "sh", "-c", _HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as holder:
            fd = _prepare(holder, "".join(f"{inner} {outer} 1\n" for inner, outer in ids.items()))
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable("user namespaces", str(error)) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _prepare(holder: subprocess.Popen[bytes], mapping: str) -> int:
    assert holder.stdout is not None
    if not holder.stdout.readline():
        raise Unavailable("user namespaces", "unshare --user failed")
    fd = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{name}").write_text(mapping, encoding="ascii")
    except BaseException:
        os.close(fd)
        raise
    return fd
