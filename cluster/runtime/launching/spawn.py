"""Starting bubblewrap so that it outlives whoever starts it.

Ray kills a dead worker's process group and its direct children. So a small shell in a session of
its own joins the control groups, sets the limits, leaves bubblewrap behind as init's child, says
its pid, and ends. Joining first means that nothing ever runs outside of its limits.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cluster.runtime.processes import ProcessIdentity, identify

_OOM_SCORE = 100
"""Containers go before the machine's own services (0); Ray's workers (1000) go before containers."""

_START_SECONDS = 30.0

FIRST_DESCRIPTOR = 10
"""Lower ones are for the shell's own use: it can name no others."""

# $1 oom_score_adj, $2 open files, $3 the groups' members files, one a line; then the command. What
# runs in the background loses its standard input, unless it is kept under another number.
_SCRIPT = """
score=$1 files=$2 groups=$3; shift 3
exec 3<&0
(
  set -f; IFS='
'
  for members in $groups; do echo 0 >"$members" || exit 125; done
  { echo "$score" >/proc/self/oom_score_adj; } 2>/dev/null
  ulimit -c 0; ulimit -n "$files"
  exec "$@" >&2 <&3 3<&-
) &
echo $!
"""


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run: ``argv`` inherits ``descriptors`` (and no others) under the same numbers.

    Their numbers are ``FIRST_DESCRIPTOR`` or more. ``stdin`` becomes its standard input.
    It runs on ``processors``; none: on any. ``open_files`` is how many descriptors each of its
    processes may have.
    """

    argv: Sequence[str]
    descriptors: Sequence[int]
    stdin: int
    log: int
    members_files: Sequence[str]
    open_files: int
    processors: frozenset[int] = frozenset()


def spawn(command: Command) -> ProcessIdentity | None:
    """Start it and return who it is, or None when it has ended already: the log then says why.

    Blocks for the start of a shell, some milliseconds. Raises OSError.
    """
    script = ["/bin/sh", "-c", _SCRIPT, "coditect-container", str(_OOM_SCORE)]
    script.append(str(_at_most(command.open_files)))
    with _usual_priority(), _running_on(command.processors):
        shell = subprocess.Popen(
            [*script, "\n".join(command.members_files), *command.argv],
            stdin=command.stdin,
            stdout=subprocess.PIPE,
            stderr=command.log,
            pass_fds=command.descriptors,
            start_new_session=True,
            cwd="/",
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
    try:
        answer, _ = shell.communicate(timeout=_START_SECONDS)
    except subprocess.TimeoutExpired as error:
        shell.kill()
        shell.wait(_START_SECONDS)
        raise OSError("the shell that starts bubblewrap does not answer") from error
    return identify(int(answer)) if answer.strip().isdigit() else None


def _at_most(open_files: int) -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return open_files if hard == resource.RLIM_INFINITY else min(hard, open_files)


@contextmanager
def _running_on(processors: frozenset[int]) -> Iterator[None]:
    """Start children on these processors. The call means the calling thread, as below."""
    before = os.sched_getaffinity(0)
    try:
        if processors:
            os.sched_setaffinity(0, processors)
        yield
    finally:
        os.sched_setaffinity(0, before)


class _usual_priority:  # noqa: N801 - reads as what it does, in a with statement
    """Start children at priority 0 where that is allowed: Ray's workers, and so we, run at 15.

    On Linux the call means the calling thread, so nothing else of this process changes.
    """

    def __enter__(self) -> None:
        self._before = os.getpriority(os.PRIO_PROCESS, 0)
        self._set(0)

    def __exit__(self, *error: object) -> None:
        self._set(self._before)

    @staticmethod
    def _set(priority: int) -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, priority)
        except PermissionError:  # an ordinary user may only go down
            return
