"""The client alone installs on any system, the server with its extra on Linux."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# What the client may use: what it depends on, and what that brings.
CLIENT = {"httpx", "rich", "sniffio", "typer", "websockets"}
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in BLOCKED: raise ModuleNotFoundError(f'no {name}', name=name)
sys.meta_path.insert(0, Block())
"""


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", each)[0].lower().replace("_", "-") for each in requirements}


def modules_of(distribution: str) -> set[str]:
    files = metadata.files(distribution) or []
    tops = {file.parts[0] for file in files if file.suffix in {".py", ".so"}}
    return {top.partition(".")[0] for top in tops if "-" not in top and not top.startswith("_")}


def closure(wanted: set[str]) -> set[str]:
    """Return what these distributions bring, without extras."""
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):
            needed = [each for each in metadata.requires(name) or [] if "extra ==" not in each]
            wanted |= names(needed)
    return found


def server_modules() -> set[str]:
    """Return the modules that only the server's extra brings."""
    server = names(PROJECT["optional-dependencies"]["server"]) - closure(set(CLIENT))
    return set().union(*(modules_of(name) for name in server)) | {"ray", "fdb"}


def run(code: str, *, blocked: set[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"BLOCKED = {blocked!r}\n{BLOCK}\n{code}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def commands(*lines: str, platform: str = sys.platform) -> str:
    """Return code that runs the command line several times, and prints how each ended."""
    return (
        "import types\n"
        "from coditect.cli import main as entry\n"
        f"for line in {lines!r}:\n"
        "    sys.argv = ['coditect', *line.split()]\n"
        f"    entry.sys = types.SimpleNamespace(platform={platform!r}, argv=sys.argv,\n"
        "        stdout=sys.stdout, stderr=sys.stderr, exit=sys.exit)\n"
        "    try: entry.main()\n"
        "    except SystemExit as end: sys.stderr.write(f'{line} ended with {end.code}\\n')\n"
    )


def test_the_client_depends_on_little_and_the_server_is_an_extra():
    assert names(PROJECT["dependencies"]) == CLIENT
    server = names(PROJECT["optional-dependencies"]["server"])
    assert {"ray", "foundationdb", "lmdb", "fastapi"} <= server
    assert not server & CLIENT


def test_the_blocked_modules_are_the_servers():
    assert {"ray", "fdb", "lmdb", "fastapi", "obstore", "psutil"} <= server_modules()


def test_the_client_needs_nothing_of_the_server():
    code = (
        "import coditect\n"
        "client = coditect.Client('http://127.0.0.1:9'); client.close()\n"
        "ours = {'actors', 'cluster', 'serve_app'} & {name.partition('.')[0] for name in sys.modules}\n"
        "print('fine', ours)"
    )
    done = run(code, blocked=server_modules())
    assert (done.stdout, done.stderr) == ("fine set()\n", "")


def test_the_peoples_commands_need_nothing_of_the_server():
    done = run(commands("--version", "ps --help", "login --help"), blocked=server_modules())
    assert done.stderr.splitlines() == [
        "--version ended with 0",
        "ps --help ended with 0",
        "login --help ended with 0",
    ]
    assert done.stdout


SERVER = ("up --port 1", "status", "down", "doctor", "backup list")


def refused(done: subprocess.CompletedProcess[str], reason: str) -> None:
    reported = done.stderr.splitlines()
    assert [line for line in reported if "ended with" in line] == [
        f"{s} ended with 1" for s in SERVER
    ]
    assert all(line.startswith(f"coditect: {reason}") for line in reported[::2])
    assert len(reported) == 2 * len(SERVER)


def test_without_the_server_its_commands_print_how_to_install_it():
    done = run(commands(*SERVER), blocked=server_modules())
    refused(done, "the server is not installed")
    assert "pip install 'coditect-server[server]'" in done.stderr


@pytest.mark.parametrize(
    ("platform", "absent"),
    [("darwin", set()), ("win32", {"termios", "tty", "pty", "resource", "pwd", "grp"})],
)
def test_elsewhere_than_on_linux_the_server_reports_it_and_the_client_works(platform, absent):
    blocked = absent | server_modules()
    refused(run(commands(*SERVER, platform=platform), blocked=blocked), "the server needs Linux")
    done = run(commands("login --help", platform=platform), blocked=blocked)
    assert done.stderr == "login --help ended with 0\n"


def test_the_version_is_the_packages():
    done = run(commands("--version"), blocked=set())
    assert done.stdout == f"coditect {PROJECT['version']}\n"


def test_the_client_is_typed_and_licensed():
    assert (ROOT / "coditect" / "py.typed").exists()
    found = metadata.metadata("coditect-server")
    assert found["License-Expression"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
    notice = (ROOT / "NOTICE").read_text()
    for program in ("bubblewrap", "HAProxy"):
        assert program in notice


def test_a_fault_is_reported_in_a_line():
    code = (
        "from coditect.cli import people\n"
        "@people.app.command('break')\n"
        "def broken(): raise KeyError('x')\n" + commands("break")
    )
    done = run(code, blocked=set())
    fault, end = done.stderr.splitlines()
    assert re.fullmatch(r"coditect: this is a fault: KeyError\('x'\) \(.*\)", fault)
    assert end == "break ended with 1"


@pytest.mark.parametrize(
    "server", ["http://127.0.0.1:9", "nonsense", "http://[::1", "ftp://x", "http://a b"]
)
def test_a_server_that_is_not_there_is_reported_in_a_line(server, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "coditect.cli.main", "login", "--email", "a@b.c", "--password-stdin",
         "--server", server],
        input="p\n", capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
        env={"PATH": "/usr/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("coditect: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("restricted", "user", "reported"),
    [("1", "1000", True), ("0", "1000", False), ("1", "0", False)],
)
def test_make_run_prints_first_what_apparmor_forbids(tmp_path, restricted, user, reported):
    (tmp_path / "switch").write_text(restricted)
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (tmp_path / "id").chmod(0o755)
    done = subprocess.run(
        ["make", "-s", "preflight", f"USERNS={tmp_path / 'switch'}"],
        capture_output=True, text=True, cwd=ROOT, check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    assert ("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in done.stderr) is reported


def test_the_installer_is_quiet_and_the_server_is_what_it_installs():
    steps = subprocess.run(
        ["make", "-n", "-B", ".venv/installed"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout
    installs = [line for line in steps.splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert all("-qq" in line for line in installs)
    assert "-e '.[server]'" in installs[1]
