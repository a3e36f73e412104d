"""A server's processes are those that descend from it, whatever they call themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cluster.bringup import leftovers
from cluster.layout import Layout
from cluster.runtime.processes import identify

ROOT = Path(__file__).parents[3]

# A server: it starts a child with an orphan below it that has no environment, prints the pids, and waits.
SERVER = """
import signal, subprocess, sys
from pathlib import Path
from cluster.bringup import leftovers
from cluster.layout import Layout
data_dir = Path(sys.argv[1])
Layout(data_dir).prepare()
leftovers.adopt_orphans()
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
started = subprocess.run(
    ["sh", "-c", "env -i setsid sleep 601 >/dev/null 2>&1 & echo $!"], stdout=subprocess.PIPE
)
orphan = int(started.stdout)
leftovers.record(data_dir)
print(child.pid, orphan, flush=True)
if sys.argv[2] == "end":
    sys.stdin.readline()
    print(leftovers.end(data_dir, grace_seconds=5), flush=True)
    leftovers.reap(())
signal.pause()
"""


@pytest.fixture
def server(tmp_path):
    started = []

    def start(how: str):
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(tmp_path), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        pids = [int(pid) for pid in process.stdout.readline().split()]
        started.extend(psutil.Process(pid) for pid in pids)
        return process, pids

    yield start
    for process in started:
        try:
            process.kill()
            process.wait(5)
        except psutil.NoSuchProcess:
            continue


def test_a_server_ends_all_that_descends_from_it_and_not_itself(server):
    process, (child, orphan) = server("end")
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "2\n"
    assert identify(child) is None
    assert identify(orphan) is None
    assert process.poll() is None


def test_what_a_killed_server_has_left_is_found_and_ended(server, tmp_path):
    process, pids = server("wait")
    assert {found.pid for found in leftovers.find(tmp_path)} == {process.pid, *pids}
    process.kill()
    process.wait()
    assert {found.pid for found in leftovers.find(tmp_path)} == set(pids)
    other = subprocess.Popen(["sleep", "60"], env={"CODITECT_SERVER": str(tmp_path)}, cwd=tmp_path)
    try:
        assert leftovers.end(tmp_path, grace_seconds=1) == 2
        assert [identify(pid) for pid in pids] == [None, None]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_haproxy_is_known_by_what_it_wrote_itself(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    script = (
        f"cat /proc/sys/kernel/random/boot_id /proc/$$/stat >{layout.pids_dir}/$$; exec sleep 60"
    )
    process = subprocess.Popen(["sh", "-c", script])
    try:
        written = layout.pids_dir / str(process.pid)
        while not written.exists() or written.read_text().count("\n") < 2:
            pass
        found = {identity.pid for identity in leftovers.find(tmp_path)}
        assert process.pid in found
    finally:
        leftovers.end(tmp_path, grace_seconds=1)
        assert process.wait(10) == -15


def test_a_pid_that_was_given_to_another_is_not_the_servers(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    other = subprocess.Popen(["sleep", "60"])
    try:
        now = identify(other.pid)
        before = now.model_copy(update={"start_ticks": now.start_ticks - 1})
        layout.family_file.write_text(f"[{before.model_dump_json()}]")
        (layout.pids_dir / str(other.pid)).write_text("another boot\n1 (sleep) S " + "0 " * 40)
        assert leftovers.find(tmp_path) == []
        layout.family_file.write_text(f"[{now.model_dump_json()}]")
        assert leftovers.find(tmp_path) == [now]
    finally:
        other.kill()
        other.wait()


def test_a_pid_that_changes_hands_during_the_look_is_not_the_servers(tmp_path, monkeypatch):
    layout = Layout(tmp_path)
    layout.prepare()
    other = subprocess.Popen(["sleep", "60"])
    try:
        now = identify(other.pid)
        before = now.model_copy(update={"start_ticks": now.start_ticks - 1})
        layout.family_file.write_text(f"[{before.model_dump_json()}]")
        monkeypatch.setattr(leftovers, "is_alive", lambda _: True)  # it was, a moment ago
        assert now not in leftovers.find(tmp_path)
    finally:
        other.kill()
        other.wait()


def test_nothing_is_a_server_where_none_was(tmp_path):
    assert leftovers.find(tmp_path) == []
    Layout(tmp_path).prepare()
    Layout(tmp_path).family_file.write_text("no list")
    assert leftovers.find(tmp_path) == []


def test_what_ended_processes_wrote_down_of_themselves_is_removed(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    mine = layout.pids_dir / str(os.getpid())
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text()
    mine.write_text(boot_id + Path("/proc/self/stat").read_text())
    ended = layout.pids_dir / "4194303"
    ended.write_text(boot_id + Path("/proc/self/stat").read_text())
    begun = layout.pids_dir / "4194302"
    begun.write_text(boot_id)
    leftovers.record(tmp_path)
    assert set(layout.pids_dir.iterdir()) == {mine, begun}
