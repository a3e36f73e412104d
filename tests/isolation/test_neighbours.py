"""One container takes all it can of what the kernel counts; its neighbour does not feel it.

Each attack is also run with its defence off, and then the neighbour fails: so it is an attack.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.core.errors.sessions import LaunchFailed
from cluster.id_range import DEFAULT_RANGE, IdRange
from cluster.runtime import sandbox
from cluster.runtime.disks.images import DiskLimits
from cluster.runtime.ids import user_ids
from cluster.runtime.launching import furnish
from cluster.runtime.registry import Processes
from cluster.runtime.root import seccomp
from tests.isolation.inside import run, spec
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has ids to give"),
]

PYTHON = os.path.realpath(sys.executable)

HOLD = """
import ctypes, errno, os, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    result = getattr(libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def take(most):
    "Take one after another, to the end or to ``most``; say how many and what the end was."
    kept = []
    try:
        for number in range(most):
            kept.append(one(number))
    except OSError as error:
        return kept, errno.errorcode[error.errno]
    return kept, "no end"
"""

INOTIFY = "def one(number): return call('inotify_init')"
QUEUES = """
class Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("flags", "most", "size", "now", "a", "b", "c", "d")]
rt = ctypes.CDLL("librt.so.1", use_errno=True)
def one(number):
    attributes = Attributes(0, 10, 8192)
    queue = rt.mq_open(b"/q%d" % number, os.O_CREAT | os.O_RDWR, 0o600, ctypes.byref(attributes))
    if queue < 0:
        raise OSError(ctypes.get_errno(), "mq_open")
    return queue
"""
SIGNALS = """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN})
class Value(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("pointer", ctypes.c_void_p)]
def one(number): return call('sigqueue', os.getpid(), int(signal.SIGRTMIN), Value())
"""
PIPES = """
import fcntl
def one(number):
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, 1031, 1 << 20)  # F_SETPIPE_SZ
    return reader, writer
"""
SOCKETS_IN_FLIGHT = """
left, right = socket.socketpair()
left.setblocking(False)
def one(number):
    carrier, other = socket.socketpair()
    socket.send_fds(carrier, [b'x'], [left.fileno()] * 253)
    return carrier, other
"""
TERMINALS = "def one(number): return os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)"
REQUESTS = """
def one(number):
    context = ctypes.c_ulong(0)
    result = libc.syscall(ctypes.c_long(%d), ctypes.c_long(8000), ctypes.byref(context))
    if result < 0:
        raise OSError(ctypes.get_errno(), "io_setup")
    return context.value
"""
"""Programs that define ``one(number)``, which takes one more."""


class Holder:
    """A program in a container that takes and keeps."""

    def __init__(self, container, code, most):
        self._container = container
        self._source = f"{HOLD}\n{code}\nkept, end = take({most})\nprint(len(kept), end)\n"

    async def take(self):
        """Take all and keep it; return how many there were, and the error at the end."""
        source = self._source + "sys.stdout.flush(); os.close(1); time.sleep(1000)"
        script = f"cat > hold.py <<'END'\n{source}\nEND\n{PYTHON} hold.py > held 2> errors &"
        await run(self._container, script)
        said = await wait_until(self._said, lambda said: "\n" in said)
        count, _, end = said.strip().partition(" ")
        return int(count), end

    async def _said(self):
        result = await run(self._container, "cat held errors")
        assert "Traceback" not in result.stdout, result.stdout
        return result.stdout

    async def once(self):
        """Take and let go."""
        script = f"{PYTHON} - <<'END'\n{self._source}\nEND"
        result = await run(self._container, script)
        assert result.stderr == ""
        count, _, end = result.stdout.strip().partition(" ")
        return int(count), end


@contextmanager
def _same_id(monkeypatch):
    """Give all containers one id outside, made by root, as they had before they had their own."""
    with monkeypatch.context() as patch:

        @contextmanager
        def reserve(range_, _start, **_):
            yield range_.first + 1

        patch.setattr(user_ids, "reserve", reserve)
        yield


COUNTED_BY_ID = [
    # program, how many the attacker tries for, how many the neighbour needs
    pytest.param(INOTIFY, 200, 100, id="inotify instances"),
    pytest.param(QUEUES, 200, 5, id="message queues"),
    pytest.param(SIGNALS, 200_000, 50_000, id="pending signals"),
    pytest.param(SOCKETS_IN_FLIGHT, 2000, 10, id="descriptors in flight"),
]


async def attack(runtime, program, most, needed):
    attacker = await runtime.launch(spec("attacker"))
    neighbour = await runtime.launch(spec("neighbour"))
    taken, end = await Holder(attacker, program, most).take()
    assert end != "no end", f"the attacker took {taken} and met no limit"
    return await Holder(neighbour, program, needed).once()


@pytest.mark.parametrize(("program", "most", "needed"), COUNTED_BY_ID)
async def test_what_is_counted_by_the_id_is_each_containers_own(runtime, program, most, needed):
    assert await attack(runtime, program, most, needed) == (needed, "no end")


@pytest.mark.parametrize(("program", "most", "needed"), COUNTED_BY_ID)
async def test_with_one_id_for_all_the_neighbour_fails(runtime, monkeypatch, program, most, needed):
    with _same_id(monkeypatch):
        count, end = await attack(runtime, program, most, needed)
    assert count < needed
    assert end != "no end"


async def test_containers_and_their_first_process_have_ids_that_nobody_else_has(runtime):
    first, second = [await runtime.launch(spec(name)) for name in ("one", "two")]
    ids = {Processes.of(handle).user_id for handle in (first, second)}
    assert len(ids) == 2
    assert ids < user_ids.in_use()
    for handle in (first, second):
        agent = Processes.of(handle).agent
        assert Path(f"/proc/{agent.pid}").stat().st_uid == Processes.of(handle).user_id
    await runtime.stop(first, 0)
    assert Processes.of(first).user_id not in user_ids.in_use()
    assert Processes.of(second).user_id in user_ids.in_use()


PAGES_OF_PIPES = """
import fcntl
reader, writer = os.pipe()
print(fcntl.fcntl(writer, 1032))  # F_GETPIPE_SZ
"""


async def test_buffers_of_pipes_are_each_containers_own(runtime, monkeypatch):
    async def neighbours_pipe():
        attacker = await runtime.launch(spec("attacker"))
        neighbour = await runtime.launch(spec("neighbour"))
        await Holder(attacker, PIPES, 100).take()
        script = f"{PYTHON} - <<'END'\n{HOLD}{PAGES_OF_PIPES}\nEND"
        size = int((await run(neighbour, script)).stdout)
        for handle in (attacker, neighbour):
            await runtime.stop(handle, 0)
        return size

    assert await neighbours_pipe() == 65536
    with _same_id(monkeypatch):
        assert await neighbours_pipe() < 65536


async def test_watches_of_epoll_are_counted_for_each_container(runtime, monkeypatch):
    # All of them are 5 million here, and 900 MB of the kernel's memory: the limit is lowered instead,
    # and leaves room for whatever else root runs on this machine.
    limit = Path("/proc/sys/fs/epoll/max_user_watches")
    before = limit.read_text()
    program = """
import select
reader, writer = os.pipe()
many = [os.dup(reader) for _ in range(200)]
polls = []
def one(number):
    if number % 200 == 0:
        polls.append(select.epoll())
    polls[-1].register(many[number % 200])
    return number
"""
    limit.write_text("40000")
    try:
        assert await attack(runtime, program, 60_000, 20_000) == (20_000, "no end")
        for handle in await runtime.list():
            await runtime.stop(handle, 0)
        with _same_id(monkeypatch):
            count, end = await attack(runtime, program, 60_000, 20_000)
        assert (count < 20_000, end) == (True, "ENOSPC")
    finally:
        limit.write_text(before)


async def test_one_container_does_not_take_the_machines_terminals(make_runtime):
    # Not seen the other way round: without the limit whoever else is on this machine had none meanwhile.
    runtime = make_runtime(ptys=10)
    assert await attack(runtime, TERMINALS, 4000, 5) == (5, "no end")


async def test_requests_of_asynchronous_io_are_not_to_be_had(container):
    number = seccomp.ARCHITECTURES[os.uname().machine].calls["io_setup"]
    assert await Holder(container, REQUESTS % number, 10).once() == (0, "ENOSYS")


async def test_with_the_call_allowed_one_container_takes_all_of_the_machines(runtime, monkeypatch):
    machine = os.uname().machine
    calls = dict(seccomp.ARCHITECTURES[machine].calls)
    number = calls["io_setup"]
    most = Path("/proc/sys/fs/aio-max-nr")
    before = most.read_text()
    most.write_text("20000")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(seccomp, "program", lambda _: None)
            count, end = await attack(runtime, REQUESTS % number, 100, 1)
    finally:
        most.write_text(before)
    assert (count, end) == (0, "EAGAIN")


async def test_limits_of_the_namespace_hold_inside_and_cannot_be_raised(container):
    result = await run(
        container,
        "cd /proc/sys/user; cat max_user_namespaces max_mnt_namespaces; ulimit -n;"
        " echo 5 > max_user_namespaces || cat /proc/sys/kernel/shmall",
    )
    user, mnt, files, shm_pages = map(int, result.stdout.split())
    assert (user, mnt, shm_pages) == (0, 1, (256 << 20) // 4096)
    assert files * 72 <= int(Path("/proc/sys/fs/file-max").read_text()) * 3 // 4


async def test_files_in_memory_have_a_number(container):
    for place, most in (("/tmp", 8192), ("/dev/shm", 8192)):
        script = f"""
        cd {place} && {PYTHON} -c '
import os
try:
    for number in range(100_000): os.close(os.open(str(number), os.O_CREAT))
except OSError as error:
    print(number, error.errno)'; find . -type f -delete
        """
        count, number = map(int, (await run(container, script)).stdout.split())
        assert count < most
        assert number == 28  # ENOSPC


async def test_many_launches_at_once_have_ids_of_their_own(make_runtime):
    runtime = make_runtime(user_ids=IdRange(1_900_100_000, 11))
    launches = [runtime.launch(spec(f"n{number}")) for number in range(5)]
    handles = await asyncio.gather(*launches)
    assert {Processes.of(handle).user_id for handle in handles} == set(
        range(1_900_100_001, 1_900_100_006)
    )


async def test_an_id_comes_back_as_late_as_can_be(make_runtime):
    runtime = make_runtime(user_ids=IdRange(1_900_300_000, 11), disks=DiskLimits(64 << 20, 2000))
    given = []
    for _ in range(5):
        handle = await runtime.launch(spec())
        given.append(Processes.of(handle).user_id)
        await runtime.stop(handle, 0)
    assert len(set(given)) == 5


async def test_an_id_is_not_given_anew_while_its_holders_disk_is_held(make_runtime, monkeypatch):
    monkeypatch.setattr(sandbox, "_RELEASE_SECONDS", 0.05)
    runtime = make_runtime(user_ids=IdRange(1_900_400_000, 3), disks=DiskLimits(64 << 20, 2000))
    first = await runtime.launch(spec("one"))
    held = os.open(f"/proc/{Processes.of(first).init.pid}/root/workspace", os.O_RDONLY)
    try:
        await runtime.stop(first, 0)
        assert await runtime.list() == []
        with pytest.raises(LaunchFailed, match="all 1 are in use"):
            await runtime.launch(spec("two"))
    finally:
        os.close(held)
    await runtime.stop(first, 0)
    await runtime.launch(spec("two"))


async def test_an_id_that_files_carry_is_given_to_no_other_workspace(make_runtime, monkeypatch):
    monkeypatch.setattr(furnish, "_map_owner", lambda *_: False)
    runtime = make_runtime(user_ids=IdRange(1_900_500_000, 7))
    given = set()
    for name in ("one", "two", "one", "two"):
        handle = await runtime.launch(spec(name))
        given.add((name, Processes.of(handle).user_id))
        await runtime.stop(handle, 0)
    assert len(given) == len({user for _, user in given}) == 2


async def test_a_container_that_finds_no_id_is_not_started(make_runtime):
    runtime = make_runtime(user_ids=IdRange(1_900_100_000, 3))
    first = await runtime.launch(spec("one"))
    with pytest.raises(Exception, match="all 1 are in use"):
        await runtime.launch(spec("two"))
    await runtime.stop(first, 0)
    await runtime.launch(spec("two"))


async def test_where_owners_cannot_be_mapped_files_change_hands(runtime, monkeypatch):
    first = await runtime.launch(spec("one"))
    await run(first, "mkdir d && echo kept > d/file")
    await runtime.stop(first, 0)
    assert runtime.workspace_path("w-one").stat().st_uid == DEFAULT_RANGE.on_disk
    with monkeypatch.context() as patch:
        patch.setattr(furnish, "_map_owner", lambda *_: False)
        second = await runtime.launch(spec("one"))
        result = await run(second, "cat d/file && echo more >> d/file && stat -c %u d/file")
        assert result.stdout == "kept\n1000\n", result.stderr
        there = Processes.of(second).user_id
        assert runtime.workspace_path("w-one").stat().st_uid == there
        await runtime.stop(second, 0)
    third = await runtime.launch(spec("one"))
    assert (await run(third, "cat d/file; touch d/new")).stdout == "kept\nmore\n"
    assert re.search("idmapped", (await run(third, "grep workspace /proc/mounts")).stdout) or (
        Processes.of(third).user_id == there
    )
