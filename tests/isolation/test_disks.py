"""A disk of its own: what one container writes, whatever way, no other one misses."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import struct
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from actors.core.errors.sessions import LaunchFailed
from actors.core.records.containers import Health
from cluster.runtime import sandbox
from cluster.runtime.disks import images as disks
from cluster.runtime.disks import loops, moving
from cluster.runtime.disks.images import Ailment, DiskLimits
from cluster.runtime.disks.reserve import DiskGuard, Room
from cluster.runtime.disks.workspaces import Workspaces
from cluster.runtime.registry import Processes
from tests.isolation.inside import run, spec
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk"),
]

MIB = 1 << 20
LIMITS = DiskLimits(size=64 * MIB, files=2000)


@pytest.fixture
def runtime(make_runtime):
    return make_runtime(disks=LIMITS)


def image_of(runtime, workspace_id="w-one") -> Path:
    found = runtime._workspaces.disk(workspace_id)
    assert found is not None
    return found


def devices(image: Path) -> list[str]:
    """Return the loop devices of a file."""
    found = []
    for block in Path("/sys/block").glob("loop*/loop"):
        with contextlib.suppress(OSError):
            device = os.open(f"/dev/{block.parent.name}", os.O_RDONLY)
            try:
                status = fcntl.ioctl(device, 0x4C05, bytes(232))  # LOOP_GET_STATUS64
            finally:
                os.close(device)
            if struct.unpack_from("2Q", status)[1] == image.stat().st_ino:
                found.append(block.parent.name)
    return found


FILL = {
    "fallocate": "fallocate -l 1G big",
    "write": "head -c 1G /dev/zero > big",
    "mapped": "truncate -s 30M a; cp a b; fallocate -l 100M big",
}


@pytest.mark.parametrize("how", FILL)
async def test_the_limit_of_bytes_holds_while_a_program_writes(runtime, how):
    container, other = [await runtime.launch(spec(name)) for name in ("one", "two")]
    result = await run(container, FILL[how])
    assert "No space left on device" in result.stderr
    used = int((await run(container, "df --output=used -B1 . | tail -1")).stdout)
    assert used <= LIMITS.size + 4 * MIB
    assert image_of(runtime).stat().st_blocks * 512 < 90 * MIB
    assert (await run(other, "head -c 20M /dev/zero > mine && echo kept")).stdout == "kept\n"
    assert await runtime.probe(container) is Health.HEALTHY
    # Who is full can delete, and go on.
    result = await run(container, "rm -f big a b && head -c 20M /dev/zero > small && echo goes on")
    assert result.stdout == "goes on\n", result.stderr


async def test_without_a_disk_of_its_own_it_takes_the_machines(make_runtime):
    container = await make_runtime().launch(spec())
    result = await run(container, "fallocate -l 200M big && echo taken")
    assert result.stdout == "taken\n", result.stderr


async def test_the_limit_of_files_holds(runtime):
    container = await runtime.launch(spec())
    script = "mkdir d && cd d && for i in $(seq 3000); do : > $i || break; done; ls | wc -l"
    result = await run(container, script)
    assert "No space left on device" in result.stderr
    assert 1000 < int(result.stdout.split()[-1]) <= 2100
    assert (await run(container, "rm -r d && : > again && echo goes on")).stdout == "goes on\n"


async def test_what_is_deleted_is_given_back_to_the_machine(runtime):
    container = await runtime.launch(spec())
    await run(container, "head -c 40M /dev/urandom > big; sync big")
    image = image_of(runtime)
    assert image.stat().st_blocks * 512 > 40 * MIB
    await run(container, "rm big; sync -f .")

    async def allocated():
        await run(container, "sync -f .")
        return image.stat().st_blocks * 512

    await wait_until(allocated, lambda size: size < 20 * MIB)


async def test_it_looks_like_a_workspace_and_nothing_of_it_is_seen_outside(runtime):
    before = Path("/proc/self/mountinfo").read_text()
    container = await runtime.launch(spec())
    result = await run(container, "ls -A; pwd; stat -c '%u %a' .; echo x > f; stat -c %u f; mount")
    lines = result.stdout.splitlines()
    assert lines[:3] == ["/workspace", "1000 700", "1000"]
    [line] = [line for line in lines if " /workspace " in line]
    assert "nosuid" in line
    assert "nodev" in line
    assert Path("/proc/self/mountinfo").read_text() == before
    assert image_of(runtime).parent.stat().st_uid == 0
    image = image_of(runtime)
    assert len(devices(image)) == 1
    await runtime.stop(container, 0)

    async def left():
        return devices(image)

    await wait_until(left, lambda found: not found)


async def test_files_outlive_the_container_and_the_kill_of_all_its_processes(runtime):
    first = await runtime.launch(spec("one", workspace_id="w-kept"))
    await run(first, "mkdir d; echo kept > d/file; sync d/file; chmod 600 d/file")
    os.kill(Processes.of(first).init.pid, signal.SIGKILL)
    second = await runtime.launch(spec("two", workspace_id="w-kept"))
    assert (await run(second, "cat d/file; echo more >> d/file")).stdout == "kept\n"
    assert (await run(second, "cat d/file")).stdout == "kept\nmore\n"


async def test_containers_that_follow_each_other_at_once_never_have_two_devices(runtime):
    for number in range(5):
        handle = await runtime.launch(spec(f"n{number}", workspace_id="w-one"))
        assert len(devices(image_of(runtime))) == 1
        result = await run(handle, f"cat n* 2>/dev/null; echo {number} > n{number}")
        assert result.stdout.split() == [str(n) for n in range(number)]


async def test_a_larger_limit_makes_the_disk_larger_and_a_smaller_one_leaves_it(make_runtime):
    small = await make_runtime(disks=LIMITS).launch(spec())
    await run(small, "echo kept > file")
    await make_runtime().stop(small, 0)
    runtime = make_runtime(disks=DiskLimits(size=256 * MIB, files=8000))
    size_before = image_of(runtime).stat().st_size

    async def no_device():
        return not devices(image_of(runtime))

    await wait_until(no_device)
    await runtime.prepare("w-one")
    large = await runtime.launch(spec())
    assert image_of(runtime).stat().st_size > size_before
    result = await run(large, "cat file; fallocate -l 200M big && echo taken")
    assert result.stdout == "kept\ntaken\n", result.stderr
    await runtime.stop(large, 0)
    again = await make_runtime(disks=LIMITS).launch(spec())
    assert (await run(again, "cat file; ls")).stdout == "kept\nbig\nfile\n"


async def test_a_disk_stays_one_when_the_setting_is_taken_away(make_runtime):
    first = await make_runtime(disks=LIMITS).launch(spec())
    await run(first, "echo kept > file")
    await make_runtime().stop(first, 0)
    second = await make_runtime().launch(spec())
    assert (await run(second, "cat file")).stdout == "kept\n"


FROM_BEFORE = """
echo kept > file; ln file again; mkdir -p d/e; chmod 500 d/e; ln -s ../file d/link; mkfifo d/pipe
truncate -s 900M sparse; printf tail >> sparse; chmod 000 file; touch -d 2001-02-03 d; printf x > $'a\\xff'
"""
LOOK = (
    "find . -printf '%p %y %m %n %s %T@ %l\\n' | grep -av '^[.] ' | LC_ALL=C sort; tail -c 4 sparse"
)


async def test_a_workspace_from_before_is_moved_into_a_disk(make_runtime):
    old = await make_runtime().launch(spec())
    await run(old, FROM_BEFORE)
    before = (await run(old, LOOK)).stdout
    runtime = make_runtime(disks=LIMITS)
    await runtime.prepare("w-one")  # it is in use
    assert runtime._workspaces.disk("w-one") is None
    await runtime.stop(old, 0)
    await runtime.prepare("w-one")
    assert runtime._workspaces.disk("w-one") is not None
    new = await runtime.launch(spec())
    assert (await run(new, LOOK)).stdout == before
    assert before.count("\n") >= 8
    result = await run(new, "cat file; chmod 600 file; cat again; fallocate -l 300M big")
    assert "kept" in result.stdout
    assert "No space left on device" in result.stderr
    left = runtime.workspace_path("w-one").parent / ".drafts"
    assert list(left.iterdir()) == []


async def test_one_that_is_larger_than_the_limit_gets_as_much_as_it_needs(make_runtime):
    old = await make_runtime().launch(spec())
    await run(old, "head -c 200M /dev/urandom > large; sync large; md5sum large > sum")
    await make_runtime().stop(old, 0)
    runtime = make_runtime(disks=LIMITS)
    await runtime.prepare("w-one")
    new = await runtime.launch(spec())
    assert (await run(new, "md5sum -c sum")).stdout == "large: OK\n"


async def test_one_for_whose_copy_there_is_no_room_goes_on_as_it_was(make_runtime, monkeypatch):
    old = await make_runtime().launch(spec())
    await run(old, "echo kept > file")
    await make_runtime().stop(old, 0)
    monkeypatch.setattr(disks, "free_bytes", lambda _: 0)
    runtime = make_runtime(disks=LIMITS)
    await runtime.prepare("w-one")
    monkeypatch.undo()
    assert runtime._workspaces.disk("w-one") is None
    assert (await run(await runtime.launch(spec()), "cat file")).stdout == "kept\n"


async def test_nobody_starts_on_a_directory_that_is_being_moved(make_runtime):
    old = await make_runtime().launch(spec())
    await run(old, "echo kept > file")
    await make_runtime().stop(old, 0)
    runtime = make_runtime(disks=LIMITS)
    with (
        moving._locked(runtime.workspace_path("w-one"), fcntl.LOCK_EX),
        pytest.raises(LaunchFailed, match="being moved"),
    ):
        await runtime.launch(spec())
    await runtime.launch(spec())


@pytest.mark.parametrize("point", ["_measure", "_copy", "compare", "_exchange", "_sync", "empty"])
def test_a_move_that_is_killed_leaves_the_one_or_the_other(tmp_path, monkeypatch, point):
    workspaces = Workspaces(tmp_path / "root", tmp_path / "trash", (1_900_000_000,), LIMITS)
    path = workspaces.ensure("w-one")
    (path / "file").write_text("kept")

    def files():
        tree = workspaces.open("w-one")
        try:
            return {p.name: p.read_text() for p in Path(f"/proc/self/fd/{tree}").glob("*")}
        finally:
            os.close(tree)

    child = os.fork()
    if child == 0:
        setattr(moving, point, lambda *_: os._exit(9))
        workspaces.care("w-one", lambda: False)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    moved = point == "empty"
    assert (workspaces.disk("w-one") is not None) is moved
    assert moved or (path / "file").read_text() == "kept"
    workspaces.care("w-one", lambda: False)
    assert workspaces.disk("w-one") is not None
    assert files() == {"file": "kept"}
    moving.sweep(tmp_path / "root" / ".drafts")
    assert not list((tmp_path / "root" / ".drafts").glob("*.home"))


def test_a_copy_that_differs_is_not_taken(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    later = time.monotonic() + 60
    for place in (one, other):
        (place / "d").mkdir(parents=True)
        (place / "d" / "file").write_text("same")
        os.utime(place / "d" / "file", (1, 1))
        for directory in (place / "d", place):
            os.utime(directory, (2, 2))
    moving.compare(one, other, later)
    (other / "d" / "file").write_text("some")
    os.utime(other / "d" / "file", (1, 1))
    with pytest.raises(OSError, match="d/file is not the same"):
        moving.compare(one, other, later)
    with pytest.raises(OSError, match="too long"):
        moving.compare(one, other, 0.0)


async def test_a_workspace_from_before_goes_on_as_it_was(make_runtime):
    old = await make_runtime().launch(spec())
    await run(old, "echo kept > file; echo root:x > disk-me")
    await make_runtime().stop(old, 0)
    runtime = make_runtime(disks=LIMITS)
    new = await runtime.launch(spec())
    assert (await run(new, "cat file")).stdout == "kept\n"
    assert runtime._workspaces.disk("w-one") is None


async def test_a_file_that_a_user_made_is_never_taken_for_a_disk(make_runtime):
    runtime = make_runtime(disks=LIMITS)
    path = runtime.workspace_path("w-one")
    plain = await make_runtime().launch(spec())
    name = f"disk-{runtime._workspaces.incarnation('w-one')}"
    await run(plain, f"echo evil > {name}")
    await runtime.stop(plain, 0)
    again = await runtime.launch(spec())
    assert (await run(again, f"cat {name}")).stdout == "evil\n"
    assert (path / name).exists()


async def test_where_no_disk_can_be_had_the_workspace_is_a_directory(make_runtime, monkeypatch):
    def refuse(_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(loops, "attach", refuse)
    runtime = make_runtime(disks=LIMITS)
    container = await runtime.launch(spec())
    assert (await run(container, "echo x > file && cat file")).stdout == "x\n"
    assert runtime._workspaces.disk("w-one") is None
    assert list((runtime.workspace_path("w-one").parent / ".drafts").iterdir()) == []


async def test_a_damaged_disk_is_repaired_or_the_launch_reports_what_is_wrong(make_runtime):
    runtime = make_runtime(disks=DiskLimits(size=300 * MIB, files=2000))  # with copies of its head
    first = await runtime.launch(spec())
    await run(first, "echo kept > file; sync -f .")
    await runtime.stop(first, 0)
    image = image_of(runtime)

    async def no_device():
        return not devices(image)

    await wait_until(no_device)
    with image.open("r+b") as file:  # the first superblock; its copies are elsewhere
        file.seek(1024)
        file.write(bytes(1024))
    await runtime.prepare("w-one")
    second = await runtime.launch(spec())
    assert (await run(second, "cat file; ls -A")).stdout == "kept\nfile\n"
    await runtime.stop(second, 0)
    await wait_until(no_device)
    os.truncate(image, 0)
    os.truncate(image, 300 * MIB)
    with pytest.raises(LaunchFailed, match="fsck"):
        await runtime.prepare("w-one")


async def test_what_only_mounting_a_disk_shows_is_repaired_before_the_next_try(make_runtime):
    runtime = make_runtime(disks=DiskLimits(300 * MIB, files=2000))
    first = await runtime.launch(spec())
    await run(first, "echo kept > file; sync -f .")
    await runtime.stop(first, 0)
    image = image_of(runtime)
    with image.open("r+b") as file:  # the first table of groups; its copies are elsewhere
        file.seek(4096)
        file.write(b"\xff" * 4096)
    await runtime.prepare("w-one")
    with pytest.raises(LaunchFailed, match="damaged"):
        await runtime.launch(spec())
    await runtime.prepare("w-one")
    second = await runtime.launch(spec())
    assert (await run(second, "cat file")).stdout == "kept\n"


async def test_a_repair_holds_up_nobody_else(make_runtime, monkeypatch):
    runtime = make_runtime(disks=LIMITS, launches_at_once=1)
    first = await runtime.launch(spec())
    await runtime.stop(first, 0)
    monkeypatch.setattr(disks, "ailment", lambda *_: Ailment.DAMAGED)
    begun, repaired = threading.Event(), threading.Event()
    monkeypatch.setattr(disks, "care", lambda *_: begun.set() or repaired.wait(30))
    care = asyncio.create_task(runtime.prepare("w-one"))
    try:
        assert await asyncio.to_thread(begun.wait, 10)
        async with runtime.turn(0):
            other = await runtime.launch(spec("two"))
        assert (await run(other, "echo on")).stdout == "on\n"
        assert not care.done()
    finally:
        repaired.set()
        await care


async def test_growth_waits_for_nobody(make_runtime, monkeypatch):
    runtime = make_runtime(disks=LIMITS)
    await runtime.stop(await runtime.launch(spec()), 0)
    monkeypatch.setattr(sandbox, "_CARES_AT_ONCE", 0)
    monkeypatch.setattr(disks, "ailment", lambda *_: Ailment.SMALL)
    monkeypatch.setattr(disks, "care", lambda *_: pytest.fail("it has no turn"))
    await make_runtime(disks=LIMITS).prepare("w-one")


async def test_a_workspace_is_removed_with_its_disk(runtime):
    container = await runtime.launch(spec())
    image = image_of(runtime)
    await runtime.stop(container, 0)
    await runtime.delete_workspace("w-one")
    assert not image.exists()
    new = await runtime.launch(spec())
    assert (await run(new, "ls -A")).stdout == ""


async def test_a_directory_that_is_lost_while_it_is_used_begins_anew(runtime, tmp_path):
    container = await runtime.launch(spec())
    await run(container, "echo old > file")
    incarnation = runtime._workspaces.incarnation("w-one")
    runtime.workspace_path("w-one").rename(tmp_path / "lost")
    assert (await run(container, "cat file")).stdout == "old\n"
    await runtime.stop(container, 0)
    new = await runtime.launch(spec())
    assert (await run(new, "ls -A")).stdout == ""
    assert runtime._workspaces.incarnation("w-one") != incarnation


async def test_many_at_once_get_disks_of_their_own(runtime):
    handles = await asyncio.gather(*(runtime.launch(spec(f"n{n}")) for n in range(4)))
    for number, handle in enumerate(handles):
        await run(handle, f"echo {number} > file")
    for number, handle in enumerate(handles):
        assert (await run(handle, "cat file")).stdout == f"{number}\n"


def test_a_draft_that_was_left_is_removed_and_one_that_is_made_is_not(tmp_path):
    left = tmp_path / "drafts" / "left"
    left.parent.mkdir()
    left.write_bytes(b"x")
    with disks._draft(tmp_path / "drafts") as (mine, _), disks._draft(tmp_path / "drafts"):
        assert not left.exists()
        assert mine.exists()
    assert not mine.exists()


def test_a_disk_gets_at_most_half_of_what_is_free():
    limits = DiskLimits(size=10 << 30, files=1_000_000)
    assert limits.image_bytes(4 << 30) == 2 << 30
    whole = limits.image_bytes(1 << 62)
    assert (10 << 30) + 256_000_000 < whole < 11 << 30
    assert limits.image_bytes(0) == 16 << 20


@pytest.fixture
def guard(tmp_path):
    """A guard of a disk that has as much left as the test sets."""
    left = [10 << 30]
    found = DiskGuard(tmp_path / "data", 1 << 30, measure=lambda _: Room(left[0], 0))
    return SimpleNamespace(left=left, look=found.look)


async def test_below_the_reserve_no_disk_grows_and_above_it_all_do_again(runtime, guard):
    container, other = [await runtime.launch(spec(name)) for name in ("one", "two")]
    await run(container, "head -c 5M /dev/urandom > old; sync old")
    guard.left[0] = 900 * MIB
    guard.look()
    for each in (container, other):
        result = await run(each, "head -c 20M /dev/urandom > new; head -c 1M new | wc -c")
        assert "No space left on device" in result.stderr
    result = await run(
        container, "printf over | dd of=old conv=notrunc,fsync; head -c 4 old; rm new"
    )
    assert result.stdout == "over", result.stderr
    guard.left[0] = 2 << 30
    guard.look()
    result = await run(container, "head -c 20M /dev/urandom > new && sync new && echo goes on")
    assert result.stdout == "goes on\n", result.stderr


async def test_who_writes_on_into_the_reserve_is_ended_and_keeps_what_was_written(runtime, guard):
    loud, quiet = [await runtime.launch(spec(name)) for name in ("one", "two")]
    await run(loud, "fallocate -l 40M set-aside; echo kept > file; sync -f .")
    guard.left[0] = 400 * MIB
    guard.look()
    await run(loud, "dd if=/dev/urandom of=set-aside bs=1M count=30 conv=notrunc,fsync")
    guard.look()
    assert await asyncio.wait_for(runtime.wait_exit(loud), 60) == "killed by signal 9"
    assert await runtime.probe(quiet) is Health.HEALTHY
    guard.left[0] = 10 << 30
    guard.look()
    again = await runtime.launch(spec("again", workspace_id="w-one"))
    assert (await run(again, "cat file")).stdout == "kept\n"


async def test_a_new_workspace_is_refused_where_nothing_but_the_reserve_is_left(make_runtime):
    runtime = make_runtime(disks=DiskLimits(64 * MIB, 2000, reserve=1 << 60))
    with pytest.raises(LaunchFailed, match="reserve"):
        await runtime.launch(spec())


@pytest.fixture
def image(tmp_path):
    """A disk that nobody has mounted."""
    made = tmp_path / "disk"
    os.close(disks.create(made, tmp_path / "drafts", LIMITS, 0))
    assert wait_for_no_device(made)
    return made


def wait_for_no_device(image: Path) -> bool:
    until = time.monotonic() + 10
    while devices(image) and time.monotonic() < until:
        time.sleep(0.01)
    return not devices(image)


def test_whoever_finds_a_disk_mounted_waits_for_it_and_not_for_ever(image, monkeypatch):
    monkeypatch.setattr(disks, "_LOCK_SECONDS", 0.2)
    held = disks.mount(image)
    with pytest.raises(OSError, match="still mounted"):
        disks.mount(image)
    monkeypatch.setattr(disks, "_LOCK_SECONDS", 10.0)
    threading.Timer(0.2, os.close, [held]).start()
    os.close(disks.mount(image))


def test_a_disk_on_which_the_kernel_found_damage_is_repaired_before_it_is_used_again(image):
    assert not disks._head(image).damaged
    subprocess.run(["debugfs", "-w", "-R", "ssv state 2", image], check=True, capture_output=True)
    assert disks._head(image).damaged
    disks.care(image, None)
    assert not disks._head(image).damaged
    os.close(disks.mount(image))


def test_a_disk_grows_though_an_attempt_was_cut_short(image):
    larger = DiskLimits(size=256 * MIB, files=2000)
    before = disks._head(image).size
    assert before == image.stat().st_size
    os.truncate(image, larger.image_bytes(1 << 62))
    disks.care(image, larger)
    assert disks._head(image).size == image.stat().st_size > 3 * before


@pytest.mark.parametrize(("number", "later"), [(errno.EIO, True), (errno.EPERM, False)])
def test_what_a_full_disk_refuses_once_the_next_workspace_has(tmp_path, monkeypatch, number, later):
    workspaces = Workspaces(tmp_path / "root", tmp_path / "trash", (1_900_000_000,), LIMITS)

    def opened(name):
        workspaces.ensure(name)
        os.close(workspaces.open(name))
        return workspaces.disk(name) is not None

    def refuse(_):
        raise OSError(number, "refused")

    with monkeypatch.context() as patched:
        patched.setattr(loops, "attach", refuse)
        assert not opened("w-one")
    assert opened("w-two") is later
