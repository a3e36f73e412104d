"""The `coditect` command as people type it: each call a process of its own, against a real server."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tarfile
import termios
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from coditect import Client
from tests.support.people import PASSWORD, Person
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ROOT, ServerProcess

pytestmark = [pytest.mark.ray, pytest.mark.sandbox]

Run = Callable[..., subprocess.CompletedProcess[bytes]]
COMMAND = [sys.executable, "-m", "coditect.cli.main"]


@pytest.fixture
def environment(server: ServerProcess, tmp_path: Path) -> dict[str, str]:
    """A person's shell: a home of their own, and no administrator's password in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CODITECT_")}
    return kept | {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "CODITECT_URL": server.url,
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    def run(*arguments: str, stdin: bytes = b"", **changes: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env=environment | changes,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def signed_in(run: Run, person: Person) -> Run:
    """The command after `coditect login`."""
    done = run("login", "--email", person.email, "--password-stdin", stdin=f"{PASSWORD}\n".encode())
    assert done.returncode == 0, done.stderr
    assert person.session_id.encode() in done.stdout
    return run


def test_the_login_is_kept_for_its_owner_only_and_a_logout_forgets_it(
    signed_in: Run, tmp_path: Path
) -> None:
    kept = tmp_path / "config" / "coditect" / "credentials.json"
    assert kept.stat().st_mode & 0o077 == 0
    assert PASSWORD not in kept.read_text()
    assert signed_in("logout").returncode == 0
    assert not kept.exists()
    refused = signed_in("ps")
    assert refused.returncode == 1
    assert b"coditect login" in refused.stderr


def test_a_wrong_password_is_reported_in_one_line(run: Run, person: Person) -> None:
    refused = run("login", "--email", person.email, "--password-stdin", stdin=b"wrong password\n")
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"coditect: ")
    assert refused.stderr.count(b"\n") == 1


def test_ps_shows_the_session(signed_in: Run, person: Person) -> None:
    listed = signed_in("ps")
    assert listed.returncode == 0, listed.stderr
    assert person.session_id.encode() in listed.stdout


def test_exec_hands_on_output_and_exit_code(signed_in: Run) -> None:
    done = signed_in("exec", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    killed = signed_in("exec", "--", "sh", "-c", "kill -9 $$")
    assert killed.returncode == 128 + 9


def test_exec_that_takes_too_long_ends_as_with_timeout(signed_in: Run) -> None:
    done = signed_in("exec", "--timeout", "0.5", "sleep", "60")
    assert done.returncode == 124


def test_cp_takes_any_bytes_there_and_back(signed_in: Run, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    (tmp_path / "there").write_bytes(content)
    done = signed_in("cp", "there", ":with space/file")
    assert done.returncode == 0, done.stderr
    assert signed_in("cp", ":with space/file", "back").returncode == 0
    assert (tmp_path / "back").read_bytes() == content
    assert signed_in("cp", ":with space/file", "-").stdout == content
    assert signed_in("cp", "-", ":from-stdin", stdin=b"piped").returncode == 0
    assert signed_in("exec", "cat", "from-stdin").stdout == b"piped"


def test_cp_gives_and_takes_directories_as_tar_streams(signed_in: Run) -> None:
    signed_in("exec", "sh", "-c", "mkdir -p packed/in; echo 1 >packed/in/f; ln -s in packed/link")
    packed = signed_in("cp", "-r", ":packed", "-").stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert {"packed/in/f", "packed/link"} < set(archive.getnames())
    done = signed_in("cp", "-r", "-", ":un/packed here", stdin=packed)
    assert done.returncode == 0, done.stderr
    shown = signed_in("exec", "cat", "un/packed here/packed/link/f")
    assert shown.stdout == b"1\n"
    broken = signed_in("cp", "-r", "-", ":un", stdin=b"this is no archive")
    assert broken.returncode == 1
    assert b"not all of - was copied" in broken.stderr


def test_cp_of_a_file_that_is_not_there_leaves_nothing_behind(
    signed_in: Run, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    for arguments in ((":nothing", "here"), ("nothing", ":there"), ("one", "two")):
        refused = signed_in("cp", *arguments)
        assert refused.returncode == 1
        assert refused.stderr.startswith(b"coditect: ")
        assert b"Traceback" not in refused.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_an_unknown_session_is_reported(signed_in: Run) -> None:
    refused = signed_in("exec", "--session", "s-unknown", "true")
    assert refused.returncode == 1
    assert b"s-unknown" in refused.stderr


def test_only_administrators_add_people(signed_in: Run, run: Run, person: Person) -> None:
    stdin = f"{PASSWORD}\n".encode()
    refused = signed_in("user", "add", "nobody@example.com", "--password-stdin", stdin=stdin)
    assert refused.returncode == 1
    assert b"administrators only" in refused.stderr
    signed_in("logout")
    administrator = {
        "CODITECT_ADMIN_EMAIL": ADMIN_EMAIL,
        "CODITECT_ADMIN_PASSWORD": ADMIN_PASSWORD,
    }
    email = f"added-{person.email}"
    done = run("user", "add", email, "--password-stdin", stdin=stdin, **administrator)
    assert done.returncode == 0, done.stderr
    assert email.encode() in done.stdout
    again = run("user", "add", email, "--password-stdin", stdin=stdin, **administrator)
    assert again.returncode == 1
    weak = run("user", "add", "weak@example.com", "--password-stdin", stdin=b"x\n", **administrator)
    assert weak.returncode == 1
    assert b"password" in weak.stderr


def test_a_server_that_is_not_there_is_reported_in_one_line(run: Run) -> None:
    refused = run(
        "login", "--email", "a@example.com", "--password-stdin", "--server", "http://127.0.0.1:9",
        stdin=b"password\n",
    )  # fmt: skip
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"coditect: ")
    assert refused.stderr.count(b"\n") == 1


class TypedShell:
    """`coditect shell`, or another command, on a terminal of its own."""

    def __init__(
        self,
        environment: dict[str, str],
        *options: str,
        size: tuple[int, int] = (80, 24),
        command: str = "shell",
    ) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, size[::-1])
        environment = environment | {"COLUMNS": "99", "LINES": "99"}  # of an older window
        self.process = subprocess.Popen(
            [*COMMAND, command, *options], stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        os.close(slave)
        self.shown = b""

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def wait_for(self, text: bytes, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is not in {self.shown!r}"
            if select.select([self._master], [], [], left)[0]:
                self.shown += os.read(self._master, 65536)

    def resize(self, cols: int, rows: int) -> None:
        termios.tcsetwinsize(self._master, (rows, cols))
        self.process.send_signal(signal.SIGWINCH)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


@pytest.fixture
def open_shell(environment: dict[str, str], signed_in: Run):
    opened: list[TypedShell] = []

    def open_one(*options: str, **given) -> TypedShell:
        opened.append(TypedShell(environment, *options, **given))
        return opened[-1]

    yield open_one
    for shell in opened:
        shell.close()


def test_a_shell_goes_on_after_detaching_and_hands_on_its_exit_code(open_shell) -> None:
    first = open_shell()
    first.type(b"kept=4711; echo the-$((40+2))\n")
    first.wait_for(b"the-42")
    first.type(b"\x1d")
    first.wait_for(b"detached")
    assert first.process.wait(60) == 0
    second = open_shell()
    second.wait_for(b"the-42")
    second.type(b"echo still-$kept\n")
    second.wait_for(b"still-4711")
    second.type(b"exit 3\n")
    second.wait_for(b"exit")
    assert second.process.wait(60) == 3


def test_shells_of_several_sizes_share_a_terminal_by_the_rule_that_is_asked_for(open_shell) -> None:
    wide = open_shell(size=(140, 20))
    wide.type(b"stty size\n")
    wide.wait_for(b"20 140")
    small = open_shell("--sizing", "smallest", size=(60, 50))
    small.type(b"stty size\n")
    wide.wait_for(b"20 60")
    small.type(b"\x1d")
    assert small.process.wait(60) == 0
    wide.type(b"clear; stty size\n")
    wide.wait_for(b"20 140\r\n")
    refused = open_shell("--sizing", "widest")
    refused.wait_for(b"smallest")
    assert refused.process.wait(60) == 2


def test_a_program_has_this_terminal_for_its_own(open_shell, person: Person) -> None:
    shell = open_shell("-it", person.session_id, "--", "bash", "-i", size=(91, 31), command="exec")
    shell.type(b"stty size\n")
    shell.wait_for(b"31 91")
    shell.resize(60, 20)
    shell.type(b"sh -c 'echo rea\"\"dy; exec sleep 600'\n")
    shell.wait_for(b"ready\r\n")  # by now it is what Ctrl+C reaches
    shell.type(b"\x03stty size; exit 7\n")
    shell.wait_for(b"20 60")
    assert shell.process.wait(60) == 7


def test_logs_follow_a_terminal_and_a_program(
    open_shell, signed_in: Run, person: Person, server: ServerProcess
) -> None:
    shell = open_shell("seen")
    shell.type(b"echo the-$((40+2))\n")
    shell.wait_for(b"the-42")
    following = open_shell("-f", "seen", command="logs")
    following.wait_for(b"the-42")
    shell.type(b"echo more-$((40+3)); exit\n")
    following.wait_for(b"more-43")
    assert following.process.wait(60) == 0
    script = "echo begun; sleep 1; echo ended"
    with Client(server.url, access_token=person.client.access_token) as client:
        client.start_process(person.session_id, "job", ["sh", "-c", script])
    followed = signed_in("logs", "-f", "job")
    assert (followed.returncode, followed.stdout) == (0, b"begun\nended\n"), followed.stderr
    assert signed_in("logs", "job", "--offset", "6").stdout == b"ended\n"
    assert signed_in("logs", "nothing").returncode == 1


def test_a_program_on_pipes_gets_input_as_it_comes_and_its_end(signed_in: Run) -> None:
    large = os.urandom(3 << 20)
    assert signed_in("exec", "-i", "cat", stdin=large).stdout == large
    done = signed_in("exec", "-i", "sh", "-c", "cat >&2; kill -TERM $$", stdin=b"typed")
    assert (done.returncode, done.stdout, done.stderr) == (128 + 15, b"", b"typed")
    assert signed_in("exec", "-i", "no-such-command").returncode == 127


SERVE = """
import http.server, socketserver
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from inside")
    def log_message(self, *_):
        pass
with socketserver.TCPServer(("127.0.0.1", 0), Page) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""


def test_what_listens_is_listed_and_forwarded(
    open_shell, signed_in: Run, person: Person, server: ServerProcess
) -> None:
    with Client(server.url, access_token=person.client.access_token) as client:
        client.start_process(person.session_id, "page", ["python3", "-uc", SERVE])
        said = next(iter(client.process_output(person.session_id, "page", follow=True)))
    port = int(said.data)
    listed = json.loads(signed_in("ports", "--json").stdout)
    assert [each["listening"] for each in listed if each["port"] == port] == [True]
    assert str(port) in signed_in("ports").stdout.decode()
    forward = open_shell(f"0:{port}", command="port-forward")
    forward.wait_for(b" -> port")
    here = re.search(rb":([0-9]+) -> port", forward.shown)
    assert here is not None
    address = f"http://127.0.0.1:{int(here[1])}/"
    assert urllib.request.urlopen(address, timeout=60).read() == b"from inside"
    forward.process.send_signal(signal.SIGINT)
    assert forward.process.wait(60) == 0
    for wrong in ("0", "65536", "x:1", "1:2:3"):
        refused = signed_in("port-forward", "main", wrong)
        assert refused.returncode != 0, wrong
        assert b"[LOCAL:]PORT" in refused.stderr


def test_users_and_their_quotas_are_listed_and_changed(signed_in, person):
    as_admin = {
        "CODITECT_ADMIN_EMAIL": ADMIN_EMAIL,
        "CODITECT_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "XDG_CONFIG_HOME": "/nonexistent",
    }
    quota = ["user", "quota", person.email]
    done = signed_in(*quota, "--file-bytes", "2M", "--containers", "3", **as_admin)
    assert done.returncode == 0, done.stderr
    assert b"of 2.0 MiB" in done.stdout
    assert b"of 3" in done.stdout
    listed = signed_in("user", "list", **as_admin).stdout.decode()
    (line,) = [each for each in listed.splitlines() if person.email in each]
    assert "2.0 MiB*" in line
    assert "/ 3*" in line
    shown = signed_in("ps").stdout.decode()
    assert "of 2.0 MiB" in shown
    done = signed_in(*quota, "--file-bytes", "default", **as_admin)
    assert b"of 20.0 GiB" in done.stdout
    assert b"no amount" in signed_in(*quota, "--files", "many", **as_admin).stderr
    assert signed_in("user", "quota", "nobody@example.com", **as_admin).returncode == 1


def test_exec_ends_as_a_shell_does_when_a_command_cannot_be_run(signed_in: Run) -> None:
    signed_in(
        "exec", "sh", "-c", "echo data >plain; echo '#!/no/such' >lost; chmod +x lost; mkdir d"
    )
    for argv, code in (
        (["no-such-command"], 127),
        (["./nothing-here"], 127),
        (["./plain"], 126),
        (["./lost"], 126),
        (["./d"], 126),
        (["sh", "-c", "kill -TERM $$"], 128 + 15),
    ):
        done = signed_in("exec", *argv)
        assert done.returncode == code, (argv, done.stderr)
        assert b"Traceback" not in done.stderr
    elsewhere = signed_in("exec", "--cwd", "not/there", "true")
    assert elsewhere.returncode == 1
    assert elsewhere.stderr.startswith(b"coditect: ")


def test_exec_passes_standard_input_of_any_bytes_and_size(signed_in: Run) -> None:
    odd = bytes(range(256)) * 16
    digest = hashlib.md5(odd).hexdigest().encode()
    assert signed_in("exec", "md5sum", stdin=odd).stdout.split()[0] == digest
    assert signed_in("exec", "-n", "cat", stdin=odd).stdout == b""
    large = b"0123456789abcde\n" * (1 << 17)  # 2 MiB: more than a request takes
    counted = signed_in(
        "exec", "--cwd", "/tmp", "sh", "-c", 'wc -c; echo "$PWD $1"', "sh", "a b", stdin=large
    )
    assert counted.stdout.split() == [str(len(large)).encode(), b"/tmp", b"a", b"b"], counted.stderr
    assert signed_in("exec", "no-such-command", stdin=large).returncode == 127
    left = signed_in("exec", "sh", "-c", "ls -A .cache")
    assert left.stdout == b"", left.stdout


def test_a_directory_is_copied_there_and_back_as_it_is(signed_in: Run, tmp_path: Path) -> None:
    source = tmp_path / "project"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "data").write_bytes(bytes(range(256)))
    (source / "tool").write_text("#!/bin/sh\necho ran\n")
    (source / "tool").chmod(0o755)
    (source / "link").symlink_to("deep/er/data")
    (source / "grün").write_text("x")
    done = signed_in("cp", "-r", "project", ":")
    assert done.returncode == 0, done.stderr
    assert signed_in("exec", "project/tool").stdout == b"ran\n"
    # Into a directory that is there; under a new name where there is none.
    assert signed_in("cp", "-r", "project", ":project/deep").returncode == 0
    assert signed_in("exec", "cat", "project/deep/project/grün").stdout == b"x"
    done = signed_in("cp", "-r", ":project", "back")
    assert done.returncode == 0, done.stderr
    back = tmp_path / "back"
    assert (back / "deep" / "er" / "data").read_bytes() == bytes(range(256))
    assert (back / "tool").stat().st_mode & 0o777 == 0o755
    assert (back / "link").readlink() == Path("deep/er/data")
    assert signed_in("cp", "-r", ":project", "back").returncode == 0
    assert (back / "project" / "grün").read_text() == "x"
    without = signed_in("cp", "project", ":elsewhere")
    assert without.returncode == 1
    assert b"-r" in without.stderr


def test_a_directory_that_points_elsewhere_writes_nothing_elsewhere(
    signed_in: Run, tmp_path: Path
) -> None:
    signed_in(
        "exec",
        "sh",
        "-c",
        "mkdir trap; ln -s /etc/passwd trap/out; ln -s .. trap/up; echo x >trap/kept",
    )
    done = signed_in("cp", "-r", ":trap", "caught")
    assert done.returncode == 1
    assert b"left out" in done.stderr
    assert sorted(path.name for path in (tmp_path / "caught").iterdir()) == ["kept"]


def test_every_listing_can_be_json(signed_in: Run, person: Person, server: ServerProcess) -> None:
    signed_in("exec", "sh", "-c", "true")
    signed_in("cp", "-", ":f", stdin=b"1")
    as_admin = {
        "CODITECT_ADMIN_EMAIL": ADMIN_EMAIL,
        "CODITECT_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "XDG_CONFIG_HOME": "/nonexistent",
    }

    def read(*arguments: str, **changes: str):
        done = signed_in(*arguments, "--json", **changes)
        return json.loads(done.stdout)

    listed = read("ps")
    assert person.session_id in {each["session_id"] for each in listed["sessions"]}
    assert listed["usage"]["sessions"]["used"] == 1
    assert read("history", "f")[0]["size"] == 1
    assert person.email in {each["email"] for each in read("user", "list", **as_admin)}
    place = ("--data-dir", str(server.data_dir))
    assert read("status", *place)["running"] is True
    assert isinstance(read("backup", "list", *place), list)
    assert {"name", "verdict", "found", "advice"} == read("doctor", *place)[0].keys()


def test_an_account_is_disabled_and_enabled(run: Run, person: Person) -> None:
    as_admin = {
        "CODITECT_ADMIN_EMAIL": ADMIN_EMAIL,
        "CODITECT_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "XDG_CONFIG_HOME": "/nonexistent",
    }
    email, stdin = f"gone-{person.email}", f"{PASSWORD}\n".encode()
    assert run("user", "add", email, "--password-stdin", stdin=stdin, **as_admin).returncode == 0
    login = ("login", "--email", email, "--password-stdin")
    assert run(*login, stdin=stdin).returncode == 0
    assert run("user", "disable", email, **as_admin).returncode == 0
    assert run("ps").returncode == 1
    assert run(*login, stdin=stdin).returncode == 1
    assert run("user", "enable", email, **as_admin).returncode == 0
    again = run(*login, stdin=stdin)
    assert again.returncode == 0, again.stderr


def test_variables_secrets_and_preferences_are_set_shown_and_taken_back(signed_in: Run) -> None:
    assert signed_in("env", "set", "PLAIN", "a value").returncode == 0
    assert signed_in("env", "set", "PIPED", stdin=b"two\nlines\n").returncode == 0
    assert signed_in("env", "ls").stdout == b"PIPED=two\nlines\nPLAIN=a value\n"
    assert signed_in("secret", "set", "TOKEN", stdin=b"hidden\n").returncode == 0
    shown = signed_in("secret", "ls", "--json").stdout
    assert [each["name"] for each in json.loads(shown)] == ["TOKEN"]
    assert b"hidden" not in shown
    found = signed_in("exec", "--", "sh", "-c", 'echo "$PLAIN,$TOKEN"')
    assert found.stdout == b"a value,hidden\n"
    refused = signed_in("env", "set", "PATH", "/bin")
    assert refused.returncode == 1
    assert b"set by the workspace" in refused.stderr
    assert signed_in("env", "rm", "PLAIN").returncode == 0
    assert signed_in("secret", "rm", "TOKEN").returncode == 0
    assert b"Europe/Berlin" in signed_in("preferences", "--time-zone", "Europe/Berlin").stdout
    assert b"time zone: default" in signed_in("preferences", "--time-zone", "default").stdout
