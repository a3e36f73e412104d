"""A real parent, real launchers and real forks; what is run in them is a script instead of Ray's worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.workers import launcher, owner
from cluster.workers.owner import WorkerParent

ROOT = Path(__file__).parents[3]
SECONDS = 60.0
SCRIPT = """
import gc, json, os, random, signal, sys, time
import ray
if "--exit" in sys.argv:
    sys.exit()
ignored = [n.name for n in signal.Signals if signal.getsignal(n) is signal.SIG_IGN]
print(json.dumps({
    "arguments": sys.argv[1:], "main": __name__, "file": sys.argv[0], "path": sys.path[0],
    "directory": os.getcwd(), "environment": dict(os.environ), "input": sys.stdin.read(),
    "files": [fd for fd in range(3, 256) if os.path.exists(f"/proc/self/fd/{fd}")],
    "pid": os.getpid(), "group": os.getpgid(0), "frozen": gc.get_freeze_count(), "collects": gc.isenabled(),
    "ignored": ignored, "blocked": [n.name for n in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    "oom": open("/proc/self/oom_score_adj").read().strip(), "parent": os.getppid(),
    "drawn": [ray.UniqueID.from_random().hex(), ray.ActorClassID.from_random().hex(), random.random()],
}), flush=True)
if "--stay" in sys.argv:
    time.sleep(600)
"""


class Workers:
    """A parent in a directory of its own, for the raylet that this process is."""

    def __init__(self, directory: Path, *modules: str) -> None:
        self.directory = directory
        self.log = directory / "log"
        (directory / "script.py").write_text(SCRIPT)
        (directory / launcher.PLAIN_WORKER).symlink_to(directory / "script.py")
        (directory / owner.WORKER).symlink_to(launcher.__file__)
        self.parent = WorkerParent(directory, self.log, modules)

    def start(self, *, waits: bool = True) -> None:
        self.parent.serve(os.getpid())
        if waits:
            until(lambda: "ready" in self.log.read_text())

    @property
    def variables(self) -> dict[str, str]:
        """What a worker gets from the raylet."""
        return {**owner._environment(), "RAY_RAYLET_PID": str(os.getpid())}

    @property
    def pid(self) -> int:
        [pid] = self.parent.pids
        return pid

    def launch(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """Do what the raylet does."""
        return subprocess.Popen(
            [sys.executable, str(self.directory / owner.WORKER), *arguments],
            env={**self.variables, **variables},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )

    def worker(self, *arguments: str, **variables: str) -> dict:
        """Launch one and return what it says of itself."""
        with self.launch(*arguments, **variables) as launched:
            said, _ = launched.communicate(b"typed", timeout=SECONDS)
        assert launched.returncode == 0
        return json.loads(said)


def until(condition) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def inherited() -> Iterator[None]:
    """What a raylet would have handed on; no more than Ray is imported, as what it is makes no difference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setattr(owner, "RAY_MODULES", ("ray",))
        patch.setattr(owner, "EARLY_MODULES", ())
        yield


@pytest.fixture(scope="module")
def workers(tmp_path_factory, inherited) -> Iterator[Workers]:
    """A parent for all who leave it as it is."""
    yield from running(Workers(tmp_path_factory.mktemp("workers")))


@pytest.fixture
def mortal(tmp_path, inherited) -> Iterator[Workers]:
    yield from running(Workers(tmp_path))


def running(made: Workers) -> Iterator[Workers]:
    made.start()
    yield made
    made.parent.stop()


def test_a_fork_is_the_worker_that_its_launcher_would_have_been(workers):
    said = workers.worker("--worker-id=1", "two words", "", OWN="kept")
    assert said["parent"] == workers.pid
    assert said["arguments"] == ["--worker-id=1", "two words", ""]
    assert (said["main"], said["input"], said["directory"]) == ("__main__", "typed", "/")
    assert (said["file"], said["path"]) == (
        str(workers.directory / "script.py"),
        str(workers.directory),
    )
    assert said["environment"] == {**workers.variables, "OWN": "kept"}


def test_a_fork_is_to_the_kernel_what_a_plain_worker_is(mortal):
    forked = mortal.worker()
    assert forked["frozen"] > 0
    assert forked["collects"]
    assert forked["group"] == forked["pid"]
    assert forked["oom"] == "1000"
    assert forked["files"] == []
    mortal.parent.stop()
    plain = mortal.worker()
    assert plain["parent"] == os.getpid()
    assert forked["ignored"] == plain["ignored"]
    assert forked["blocked"] == [
        "SIGINT"
    ]  # the raylet, which is not here, has its workers block it


def test_no_two_forks_draw_the_same(workers):
    drawn = [value for _ in range(3) for value in workers.worker()["drawn"]]
    assert len(set(drawn)) == 9


def test_forks_that_end_leave_nothing(workers):
    before = psutil.Process(workers.pid).num_fds()
    for _ in range(3):
        with workers.launch("--exit") as launched:
            assert launched.wait(SECONDS) == 0
    until(lambda: psutil.Process(workers.pid).children() == [])
    assert psutil.Process(workers.pid).num_fds() == before


def test_a_launcher_waits_for_a_parent_that_still_imports(tmp_path, inherited):
    workers = Workers(tmp_path)
    workers.start(waits=False)
    try:
        assert workers.worker()["parent"] == workers.pid
    finally:
        workers.parent.stop()


@pytest.mark.parametrize(
    "variables", [{"RAY_JOB_ID": "02000000"}, {"RAY_RAYLET_PID": "1"}, {"PYTHONHASHSEED": "1"}]
)
def test_a_worker_of_another_job_or_raylet_is_a_plain_one(workers, variables):
    assert workers.worker(**variables)["parent"] == os.getpid()
    assert f"no fork: {next(iter(variables))} differ" in workers.log.read_text()
    assert workers.worker()["parent"] == workers.pid


def test_without_a_parent_a_worker_is_a_plain_one_until_there_is_another(mortal):
    first = mortal.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: psutil.Process(first).status() == psutil.STATUS_ZOMBIE)
    assert mortal.worker()["parent"] == os.getpid()
    mortal.parent.watch()
    assert mortal.pid != first
    assert mortal.worker()["parent"] == mortal.pid


def test_forks_live_on_without_their_parent(mortal):
    with mortal.launch("--stay") as launched:
        launched.stdin.close()
        pid = json.loads(launched.stdout.readline())["pid"]
    mortal.parent.stop()
    assert psutil.pid_exists(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_parent_that_ends_again_and_again_is_left(mortal):
    for _ in range(owner.MAX_STARTS_IN_A_ROW):
        os.kill(mortal.pid, signal.SIGKILL)
        mortal.parent._process.wait()
        mortal.parent.watch()
    assert mortal.parent.pids == set()
    mortal.parent.watch()
    assert mortal.parent.pids == set()


def test_a_full_disk_leaves_workers_without_a_parent_and_nothing_else(mortal):
    os.kill(mortal.pid, signal.SIGKILL)
    mortal.parent._process.wait()
    mortal.parent._log = mortal.directory / "no directory" / "log"
    for _ in range(owner.MAX_STARTS_IN_A_ROW):
        mortal.parent.watch()
    assert mortal.parent.pids == set()
    assert mortal.worker()["parent"] == os.getpid()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import ray; ray.UniqueID.from_random()", "the same ids"),
        (
            "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
            "2 threads",
        ),
    ],
)
def test_a_parent_whose_forks_would_be_no_good_has_none(
    tmp_path, monkeypatch, inherited, source, reason
):
    (tmp_path / "spoils.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    workers = Workers(tmp_path, "spoils")
    workers.start(waits=False)
    assert workers.parent._process.wait(SECONDS) == owner.REFUSED
    assert reason in workers.log.read_text()
    workers.parent.watch()
    assert workers.parent.pids == set()
    assert workers.worker()["parent"] == os.getpid()


def test_what_needs_no_ray_is_imported_before_there_is_a_raylet(tmp_path, monkeypatch, inherited):
    seen = tmp_path / "imported"
    (tmp_path / "early.py").write_text(f"open({str(seen)!r}, 'x').close()")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    monkeypatch.setattr(owner, "EARLY_MODULES", ("early",))
    workers = Workers(tmp_path)
    workers.parent.begin()
    until(seen.exists)
    assert workers.log.read_text() == ""
    workers.start()
    assert workers.worker()["parent"] == workers.pid
    workers.parent.stop()


def test_a_parent_that_imports_ray_before_there_is_a_raylet_has_no_forks(
    tmp_path, monkeypatch, inherited
):
    monkeypatch.setattr(owner, "EARLY_MODULES", ("ray",))
    workers = Workers(tmp_path)
    workers.start(waits=False)
    assert workers.parent._process.wait(SECONDS) == owner.REFUSED
    assert "too early" in workers.log.read_text()
    workers.parent.stop()


def test_classes_that_ray_makes_on_import_spoil_nothing(tmp_path, monkeypatch, inherited):
    """Serve's own do that, and ``ray.dag``."""
    (tmp_path / "remote.py").write_text("import ray\n@ray.remote\nclass Made: pass\n")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    workers = Workers(tmp_path, "remote")
    workers.start()
    workers.parent.stop()


def test_the_parent_ends_with_the_server(tmp_path, inherited):
    Workers(tmp_path)
    program = f"""
import time
from pathlib import Path
from cluster.workers import owner
owner.RAY_MODULES = owner.EARLY_MODULES = ()
parent = owner.WorkerParent(Path({str(tmp_path)!r}), Path({str(tmp_path / "log")!r}), [])
parent.serve({os.getpid()})
print(*parent.pids, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE
    ) as server:
        parent = psutil.Process(int(server.stdout.readline()))
        until(lambda: "ready" in (tmp_path / "log").read_text())
        server.kill()
    until(lambda: not parent.is_running())


def test_nobody_else_reaches_the_socket(workers):
    assert (workers.directory / launcher.SOCKET).stat().st_mode & 0o777 == 0o600
