"""Containers outlive whoever launched them, are found again, and never leave anything behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors.core.errors.base import DeadlineExceeded
from actors.core.errors.requests import InvalidArgument
from actors.core.errors.sessions import LaunchFailed
from actors.core.records.containers import ContainerHandle, Health
from cluster.runtime import processes as identity
from cluster.runtime import pruning
from cluster.runtime.cgroups import Cgroups
from cluster.runtime.registry import Processes
from cluster.runtime.sandbox import group_name
from tests.isolation.inside import run, spec
from tests.support.waiting import wait_until

pytestmark = pytest.mark.sandbox

ROOT = Path(__file__).parents[2]


def launch_elsewhere(data_dir: Path, how: str = "whole") -> tuple[subprocess.Popen, str]:
    """Launch from another process; return it and the line that it printed."""
    launcher = subprocess.Popen(
        [sys.executable, "-m", "tests.isolation.launcher", str(data_dir), how],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return launcher, launcher.stdout.readline()


def kill_group(launcher: subprocess.Popen) -> None:
    """Kill a process the way Ray ends a worker: its whole group."""
    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.wait(30)
    launcher.stdout.close()


def leftovers(data_dir: Path) -> list[str]:
    """Return what is left of containers on disk and in control groups."""
    files = [str(p) for p in (data_dir / "runtime" / "containers").glob("*")]
    groups = [str(p) for p in Path("/sys/fs/cgroup").rglob(group_name(data_dir))]
    return files + groups + processes_of(data_dir)


def processes_of(data_dir: Path) -> list[str]:
    """Return the processes that still write to a log of this data directory."""
    found = []
    for pid in identity.all_stats():
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/2").startswith(f"{data_dir}/runtime"):
                found.append(f"process {pid}")
    return found


async def test_a_container_survives_the_kill_of_its_launchers_process_group(make_runtime, tmp_path):
    launcher, said = await asyncio.to_thread(launch_elsewhere, tmp_path / "data")
    handle = ContainerHandle.model_validate_json(said)
    kill_group(launcher)
    runtime = make_runtime()
    assert await runtime.probe(handle) is Health.HEALTHY
    assert await runtime.list() == [handle]
    assert identity.is_alive(Processes.of(handle).monitor)
    assert (await run(handle, "echo still here")).stdout == "still here\n"
    await runtime.stop(handle, 1)
    assert leftovers(tmp_path / "data") == []


async def test_a_container_that_nobody_reaches_has_ended_before_another_one_has_its_workspace(
    make_runtime,
):
    first = await make_runtime().launch(spec("one"))
    processes = Processes.of(first)
    os.kill(processes.agent.pid, signal.SIGSTOP)
    second = await make_runtime().launch(spec("two", workspace_id="w-one"))
    assert not identity.is_alive(processes.init)
    assert not identity.is_alive(processes.agent)
    assert (await run(second, "echo alone")).stdout == "alone\n"
    other = await make_runtime().launch(spec("three"))
    assert identity.is_alive(Processes.of(other).init)
    assert identity.is_alive(Processes.of(second).init)


async def test_a_container_that_does_not_end_keeps_others_out_of_its_workspace(
    make_runtime, monkeypatch
):
    runtime = make_runtime()
    first = await runtime.launch(spec("one"))

    async def hold_on(handle: ContainerHandle, grace_seconds: float) -> None:
        raise DeadlineExceeded("killing a container", 10.0)

    with monkeypatch.context() as patched:
        patched.setattr(runtime, "stop", hold_on)
        with pytest.raises(LaunchFailed):
            await runtime.launch(spec("two", workspace_id="w-one"))
    assert [handle.container_id for handle in await runtime.list()] == [first.container_id]


async def test_a_container_whose_launcher_died_half_way_is_listed_and_can_be_stopped(
    make_runtime, tmp_path
):
    launcher, said = await asyncio.to_thread(launch_elsewhere, tmp_path / "data", "half-way")
    assert said == "half-way\n"
    runtime = make_runtime()
    found = await wait_until(runtime.list)
    await wait_until(lambda: runtime.probe(found[0]), lambda health: health is Health.HEALTHY)
    with pytest.raises(LaunchFailed, match="is launching it"):
        await runtime.launch(spec())
    kill_group(launcher)
    assert [h.container_id for h in await runtime.list()] == ["c-one"]
    await runtime.stop(found[0], 1)
    assert await runtime.list() == []
    assert leftovers(tmp_path / "data") == []


async def test_a_container_whose_launcher_died_before_it_was_furnished_ends_by_itself(
    make_runtime, tmp_path
):
    launcher, said = await asyncio.to_thread(launch_elsewhere, tmp_path / "data", "at the gate")
    assert said == "at the gate\n"
    runtime = make_runtime(keep_dead_seconds=0)
    await wait_until(runtime.list)
    kill_group(launcher)
    await wait_until(runtime.list, lambda found: not found)
    assert leftovers(tmp_path / "data") == []


@pytest.mark.parametrize("moment", ["half-way", "at the gate"])
async def test_a_launch_that_died_is_made_good_by_the_next(make_runtime, tmp_path, moment):
    launcher, _ = await asyncio.to_thread(launch_elsewhere, tmp_path / "data", moment)
    kill_group(launcher)
    runtime = make_runtime()
    handle = await runtime.launch(spec())
    assert await runtime.list() == [handle]
    assert await runtime.probe(handle) is Health.HEALTHY


@pytest.mark.parametrize("victim", ["agent", "init"])
async def test_the_kill_of_a_process_that_matters_ends_everything_and_is_seen_at_once(
    runtime, container, victim
):
    await run(container, "setsid sleep 1000 >/dev/null 2>&1 & disown")
    processes = Processes.of(container)
    below = identity.descendants(processes.init.pid)
    assert len(below) >= 3
    waiting = asyncio.create_task(runtime.wait_exit(container))
    await asyncio.sleep(0)
    os.kill(getattr(processes, victim).pid, signal.SIGKILL)
    reason = await asyncio.wait_for(waiting, 60)
    assert reason == "killed by signal 9"
    assert await runtime.probe(container) is Health.DEAD

    async def left() -> set[int]:
        return set(below) & set(identity.all_stats())

    await wait_until(left, lambda pids: not pids)  # the kernel ends them behind the first
    await runtime.stop(container, 0)


async def test_the_kill_of_the_monitor_alone_leaves_a_whole_container(runtime, container, tmp_path):
    monitor = Processes.of(container).monitor
    os.kill(monitor.pid, signal.SIGKILL)
    assert await identity.ends_within(monitor, 5)
    assert await runtime.probe(container) is Health.HEALTHY
    assert await runtime.list() == [container]
    waiting = asyncio.create_task(runtime.wait_exit(container))
    await runtime.stop(container, 1)
    await asyncio.wait_for(waiting, 60)
    assert leftovers(tmp_path / "data") == []


async def test_a_pid_that_somebody_else_has_now_is_not_trusted(runtime, container):
    bystander = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        data = Processes.of(container)
        reused = data.init.model_copy(update={"pid": bystander.pid})
        forged = data.model_copy(
            update={"init": reused, "agent": reused, "monitor": reused, "group": None}
        )
        handle = container.model_copy(
            update={"container_id": "c-gone", "data": forged.model_dump(mode="json")}
        )
        assert await runtime.probe(handle) is Health.DEAD
        assert await asyncio.wait_for(runtime.wait_exit(handle), 60)
        await runtime.stop(handle, 1)
        assert bystander.returncode is None
        assert identity.identify(bystander.pid) is not None
    finally:
        bystander.kill()
        await bystander.wait()


async def test_a_handle_of_an_earlier_boot_is_dead(runtime, container):
    data = Processes.of(container)
    earlier = data.init.model_copy(update={"boot_id": "00000000-0000-0000-0000-000000000000"})
    old = data.model_copy(update={"init": earlier, "monitor": earlier, "agent": earlier})
    handle = container.model_copy(update={"data": old.model_dump(mode="json")})
    assert await runtime.probe(handle) is Health.DEAD


async def test_files_of_the_workspace_outlive_the_container(runtime):
    first = await runtime.launch(spec("one", workspace_id="w-kept"))
    await run(first, "echo kept > file; chmod 600 file")
    await runtime.stop(first, 0)
    second = await runtime.launch(spec("two", workspace_id="w-kept"))
    assert (await run(second, "cat file; echo more >> file")).stdout == "kept\n"


async def test_files_that_root_puts_into_a_workspace_belong_to_the_container(runtime):
    if os.geteuid() != 0:
        pytest.skip("only root has an owner to give away")
    path = runtime.workspace_path("w-one")
    (path / "below").mkdir(parents=True)
    (path / "below" / "file").write_text("restored")
    (path / "link").symlink_to("/etc/hostname")
    owner = Path("/etc/hostname").stat().st_uid
    container = await runtime.launch(spec())
    result = await run(container, "echo more >> below/file && cat below/file && rm -r below")
    assert result.stdout == "restoredmore\n", result.stderr
    assert Path("/etc/hostname").stat().st_uid == owner


async def test_an_agent_that_fails_is_reported_with_its_last_words(make_runtime, tmp_path):
    runtime = make_runtime(env={"FAIL_WITH": "no luck"})
    with pytest.raises(LaunchFailed, match="cannot start: no luck"):
        await runtime.launch(spec())
    assert leftovers(tmp_path / "data") == []
    assert (tmp_path / "data" / "workspaces" / "w-one").is_dir()


async def test_an_agent_that_never_answers_is_given_up_and_removed(make_runtime, tmp_path):
    runtime = make_runtime(env={"HANG": "1"}, launch_timeout=0.5)
    with pytest.raises(LaunchFailed, match=r"no answer from CODI within 0\.5 s"):
        await runtime.launch(spec())
    assert await runtime.list() == []
    assert leftovers(tmp_path / "data") == []


@pytest.mark.parametrize("grouped", [True, False], ids=["groups", "no groups"])
@pytest.mark.parametrize("after_seconds", [0, 0.005, 0.02, 0.05, 0.2])
async def test_a_cancelled_launch_leaves_nothing(
    make_runtime, tmp_path, after_seconds, grouped, monkeypatch
):
    if not grouped:
        monkeypatch.setattr(Cgroups, "detect", lambda _: Cgroups({}, 2, frozenset()))
    runtime = make_runtime(env={"HANG": "1"})
    launching = asyncio.create_task(runtime.launch(spec()))
    await asyncio.sleep(after_seconds)
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching
    assert await runtime.list() == []
    assert leftovers(tmp_path / "data") == []


async def test_without_control_groups_processes_are_bounded_and_usage_is_counted(
    make_runtime, tmp_path, monkeypatch
):
    monkeypatch.setattr(Cgroups, "detect", lambda _: Cgroups({}, 2, frozenset()))
    runtime = make_runtime()
    container = await runtime.launch(spec(pids=40))
    assert (await run(container, "ulimit -u")).stdout == "40\n"
    await run(container, "sleep 1000 >/dev/null 2>&1 & disown")
    stats = await runtime.stats(container)
    assert stats["pids"] >= 3
    assert stats["cpu_seconds"] > 0
    assert stats["memory_bytes"] > 1 << 20
    await runtime.stop(container, 1)
    assert leftovers(tmp_path / "data") == []


async def test_an_agent_that_ignores_the_request_to_end_is_killed(runtime, container):
    agent = Processes.of(container).agent
    os.kill(agent.pid, signal.SIGSTOP)  # a stopped process handles no SIGTERM
    started = asyncio.get_running_loop().time()
    await runtime.stop(container, 0.2)
    assert asyncio.get_running_loop().time() - started >= 0.2
    assert await runtime.list() == []


async def test_an_agent_that_does_not_answer_is_unhealthy(make_runtime):
    runtime = make_runtime(probe_timeout=0.2)
    container = await runtime.launch(spec())
    os.kill(Processes.of(container).agent.pid, signal.SIGSTOP)
    assert await runtime.probe(container) is Health.UNHEALTHY


async def test_what_is_left_of_a_dead_container_is_swept_up_later(make_runtime, tmp_path):
    runtime = make_runtime(keep_dead_seconds=0)
    container = await runtime.launch(spec())
    os.kill(Processes.of(container).agent.pid, signal.SIGKILL)
    await runtime.wait_exit(container)
    assert await runtime.list() == []
    assert leftovers(tmp_path / "data") == []


async def test_a_log_without_end_is_cut(runtime, container, tmp_path):
    log = tmp_path / "data" / "runtime" / "containers" / "c-one.log"
    os.truncate(log, 2 << 20)
    await runtime.probe(container)
    assert log.stat().st_size == 0


async def test_files_of_the_runtime_are_for_the_server_alone(runtime, container, tmp_path):
    directory = tmp_path / "data" / "runtime" / "containers"
    assert directory.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.iterdir())
    assert runtime.workspace_path("w-one").stat().st_mode & 0o777 == 0o700


async def test_egress_that_is_not_offered_is_refused(runtime):
    with pytest.raises(InvalidArgument, match="egress"):
        await runtime.launch(spec(egress="internet"))


async def test_what_containers_shared_goes_with_the_last_of_them(make_runtime, monkeypatch):
    monkeypatch.setattr(pruning, "UNUSED_SECONDS", -1.0)  # what is touched only now counts as old
    runtime = make_runtime()
    small = await runtime.launch(spec("small"))
    large = await runtime.launch(spec("large", memory_bytes=300 << 20))
    place = runtime._runtime_dir
    assert (len(list(place.glob("view-*"))), len(list(place.glob("etc-*")))) == (2, 1)
    await runtime.stop(small, 0)
    assert len(list(place.glob("view-*"))) == 1
    assert (await run(large, "cat /etc/hostname; grep -c . /proc/meminfo")).exit_code == 0
    await runtime.stop(large, 0)
    assert list(place.glob("view-*")) == list(place.glob("etc-*")) == []
    again = await runtime.launch(spec("small"))
    assert (await run(again, "cat /etc/hostname")).stdout == "workspace\n"
