"""Tests that containers work on this machine, by running one for a moment."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from actors.core.errors.base import CoditectError
from cluster.id_range import DEFAULT_RANGE, IdRange
from cluster.runtime.ids import userns
from cluster.runtime.launching import furnish
from cluster.runtime.root import bwrap, rootfs, seccomp
from cluster.runtime.root.tables import tables

_SECONDS = 20.0
_SMALL = 1 << 20
_WAITS = "echo && read -r _"


def failure(ids: IdRange = DEFAULT_RANGE) -> str | None:
    """Run ``true`` as containers are run; return None when it works, else what went wrong."""
    try:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coditect-")))
            return _run(directory, stack, ids)
    except subprocess.TimeoutExpired:
        return f"it did not end within {_SECONDS:g} s"
    except (OSError, CoditectError) as error:
        return str(error)


def limits_failure(ptys: int = 64) -> str | None:
    """Run a container as an ordinary user's, and limit it from outside; return what went wrong, or None."""
    shares = tables(
        ptys=ptys,
        pids=64,
        memory_bytes=_SMALL,
        tmp_bytes=_SMALL,
        shm_bytes=_SMALL,
        file_max=1 << 20,
    )
    try:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coditect-")))
            command, given = _command(directory, stack, DEFAULT_RANGE, ["/bin/sh", "-c", _WAITS])
            process = stack.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=given
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            if not select.select([process.stdout], [], [], _SECONDS)[0]:
                return f"it did not begin within {_SECONDS:g} s"
            if not process.stdout.readline():
                return "it ended at once"
            identity = json.loads(os.pread(given[0], 4096, 0))
            furnish.limit_as_maker(int(identity["child-pid"]), shares)
    except (OSError, ValueError, KeyError, CoditectError) as error:
        return str(error)
    return None


def _run(directory: Path, stack: ExitStack, ids: IdRange) -> str | None:
    command, given = _command(directory, stack, ids, ["true"])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=_SECONDS,
        pass_fds=given,
    )
    return None if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


def _command(
    directory: Path, stack: ExitStack, ids: IdRange, program: list[str]
) -> tuple[list[str], list[int]]:
    """Return what runs a program in a container, and its descriptors; the first one gets its pid."""
    as_root = os.geteuid() == 0
    info, status = (stack.enter_context(_temporary(b"")) for _ in range(2))
    rules = None
    if code := seccomp.program(os.uname().machine):
        rules = stack.enter_context(_temporary(code))
    workspace, empty = directory / "workspace", directory / "etc"
    for path in (workspace, empty):
        path.mkdir()
    layout = rootfs.Layout(str(workspace), str(empty), (), _SMALL, _SMALL)
    descriptors = bwrap.Descriptors(info, status, rules)
    command = [
        bwrap.find().path,
        "--die-with-parent",
        *bwrap.isolation(descriptors, rootfs.HOST_NAME, as_root=as_root),
    ]
    command += rootfs.environment({}, exists=os.path.exists)
    command += rootfs.mounts(layout, exists=os.path.exists, read_link=rootfs.read_link)
    command.append("--")
    if as_root:
        namespace = stack.enter_context(userns.user_namespace(ids.on_disk, ids.agent(ids.on_disk)))
        command = ["nsenter", f"--user=/proc/{os.getpid()}/fd/{namespace}", "--", *command]
    command += bwrap.inside(program, as_root=as_root)
    return command, [info, status] if rules is None else [info, status, rules]


@contextmanager
def _temporary(content: bytes) -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield file.fileno()
