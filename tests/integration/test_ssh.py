"""SSH as people use it: OpenSSH's own client, sftp, scp, rsync and git, against a real server."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.people import PASSWORD, Person
from tests.support.server_process import ROOT, ServerProcess, free_port

pytestmark = [pytest.mark.ray, pytest.mark.sandbox]

Done = subprocess.CompletedProcess


class Ssh:
    """A person's SSH client: a key, and what every command of OpenSSH is given."""

    def __init__(self, server: ServerProcess, person: Person, place: Path) -> None:
        self.server = server
        self.person = person
        self.place = place
        self.key = place / "key"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True
        )
        self.port = json.loads((server.data_dir / "ssh.json").read_text())["port"]
        (place / "config").write_text(
            f"Host w\n  HostName 127.0.0.1\n  Port {self.port}\n  User {person.session_id}\n"
            f"Host *\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n  BatchMode yes\n"
            "  StrictHostKeyChecking yes\n"
            f"  UserKnownHostsFile {place}/known_hosts\n"
        )
        self.environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith(("CODITECT_", "SSH_"))},
            "HOME": str(place),
            "XDG_CONFIG_HOME": str(place / "config-home"),
            "PYTHONPATH": str(ROOT),
            "GIT_SSH_COMMAND": shlex.join(self.command("ssh")),
        }

    def command(self, program: str, *arguments: str) -> list[str]:
        return [program, "-F", str(self.place / "config"), *arguments]

    def run(self, *command: str, stdin: bytes = b"", seconds: float = 60, **kept: str) -> Done:
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            cwd=self.place,
            env=self.environment | kept,
            timeout=seconds,
            check=False,
        )

    def ssh(self, *arguments: str, stdin: bytes = b"") -> Done:
        return self.run(*self.command("ssh", *arguments), stdin=stdin)

    def coditect(self, *arguments: str, stdin: bytes = b"") -> Done:
        return self.run(sys.executable, "-m", "coditect.cli.main", *arguments, stdin=stdin)

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(
            self.command("ssh", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
async def ssh(server: ServerProcess, person: Person, tmp_path: Path) -> Ssh:
    made = Ssh(server, person, tmp_path)
    known = await person.client.ssh_server()
    assert known.port == made.port
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{known.port} {known.host_key}\n")
    await person.client.add_ssh_key(made.key.with_suffix(".pub").read_text())
    return made


def test_a_command_has_its_streams_and_its_exact_end(ssh: Ssh) -> None:
    done = ssh.ssh("w", "printf out; printf err >&2; pwd >&2; exit 41")
    assert (done.returncode, done.stdout, done.stderr) == (41, b"out", b"err/workspace\n")
    every = bytes(range(256)) * 20_000
    assert ssh.ssh("w", "cat", stdin=every).stdout == every
    assert ssh.ssh("w", "kill -TERM $$").returncode == 255
    shown = ssh.ssh("-tt", "w", "tty; stty size; exit 3")
    assert shown.returncode == 3
    assert b"/dev/pts/" in shown.stdout


def test_files_go_by_sftp_scp_rsync_and_git(ssh: Ssh) -> None:
    content = os.urandom(1 << 20)
    (ssh.place / "file").write_bytes(content)
    batch = b"mkdir up\nput file up/file\nrename up/file up/there\nget up/there back\nls -l up\n"
    done = ssh.run(*ssh.command("sftp", "-b", "-", "w"), stdin=batch)
    assert done.returncode == 0, done.stderr
    assert (ssh.place / "back").read_bytes() == content
    for old in ([], ["-O"]):
        assert ssh.run(*ssh.command("scp", *old, "file", "w:by-scp")).returncode == 0
        assert ssh.run(*ssh.command("scp", *old, "w:by-scp", "back")).returncode == 0
        assert (ssh.place / "back").read_bytes() == content
    tree = ssh.place / "tree"
    (tree / "inner").mkdir(parents=True)
    for number in range(50):
        (tree / "inner" / f"{number}").write_text("x" * number)
    remote = ["rsync", "-a", "-e", shlex.join(ssh.command("ssh"))]
    done = ssh.run(*remote, "tree/", "w:by-rsync/")
    assert done.returncode == 0, done.stderr
    again = ssh.run(*remote, "--itemize-changes", "tree/", "w:by-rsync/")
    assert (again.returncode, again.stdout) == (0, b"")
    assert ssh.ssh("w", "ls by-rsync/inner | wc -l").stdout == b"50\n"
    assert ssh.ssh("w", "git init -q --bare repo.git").returncode == 0
    script = (
        "git init -q repo && cd repo && git config user.email a@b && git config user.name a"
        " && echo hi >f && git add f && git commit -qm one && git push -q w:repo.git HEAD:main"
        " && git ls-remote w:repo.git"
    )
    pushed = ssh.run("sh", "-c", script)
    assert pushed.returncode == 0, pushed.stderr
    assert b"refs/heads/main" in pushed.stdout


class Seen(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"mine")

    def log_message(self, *_: object) -> None:
        pass


def test_ports_are_forwarded_both_ways_and_nothing_else_is(ssh: Ssh) -> None:
    assert ssh.ssh("w", "mkdir site && echo seen >site/index.html").returncode == 0
    local = free_port()
    inside = "cd site && exec python3 -m http.server 8123 --bind 127.0.0.1"
    with ssh.running("w", inside), ssh.running("-N", "-L", f"{local}:localhost:8123", "w"):
        assert until(lambda: b"seen" in ssh.run("curl", "-s", f"127.0.0.1:{local}/").stdout)
    with http.server.HTTPServer(("127.0.0.1", 0), Seen) as mine:
        threading.Thread(target=mine.serve_forever, daemon=True).start()
        back = f"8124:127.0.0.1:{mine.server_port}"
        done = ssh.ssh("-R", back, "w", "curl -sS 127.0.0.1:8124/")
        assert (done.stdout, done.stderr) == (b"mine", b"")
        mine.shutdown()
    for target in ("10.0.0.1:80", f"127.0.0.2:{ssh.server.port}"):
        refused = ssh.ssh("-W", target, "w")
        assert refused.returncode != 0
        assert b"prohibited" in refused.stderr
    # The server's own ports are the machine's, not the workspace's.
    assert ssh.ssh("-W", f"localhost:{ssh.server.port}", "w").returncode != 0


LISTENS = """\
import http.server, socketserver
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"by name")
    def address_string(self): return "local"
    def log_message(self, *_): pass
socketserver.UnixStreamServer("/tmp/page.sock", Page).serve_forever()
"""


def test_unix_sockets_are_forwarded_both_ways_and_an_agent_when_asked_for(ssh: Ssh) -> None:
    local = free_port()
    inside = shlex.join(["exec", "python3", "-c", LISTENS])
    with ssh.running("w", inside), ssh.running("-N", "-L", f"{local}:/tmp/page.sock", "w"):
        page = ("curl", "-s", f"http://127.0.0.1:{local}/")
        assert until(lambda: ssh.run(*page).stdout == b"by name")
    with http.server.HTTPServer(("127.0.0.1", 0), Seen) as mine:
        threading.Thread(target=mine.serve_forever, daemon=True).start()
        back = f"/tmp/back.sock:127.0.0.1:{mine.server_port}"
        asked = "curl -sS --unix-socket /tmp/back.sock http://back/"
        done = ssh.ssh("-R", back, "w", asked)
        assert (done.stdout, done.stderr) == (b"mine", b"")
        mine.shutdown()
    place = str(ssh.place / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL) as agent:
        try:
            assert until(Path(place).exists)
            agent_of = {"SSH_AUTH_SOCK": place}
            assert ssh.run("ssh-add", str(ssh.key), **agent_of).returncode == 0
            shown = ssh.run("ssh-add", "-l", **agent_of).stdout
            through = ssh.run(*ssh.command("ssh", "-A", "w", "ssh-add -l"), **agent_of)
            assert (through.stdout, through.returncode) == (shown, 0)
            assert ssh.run(*ssh.command("ssh", "w", "ssh-add -l"), **agent_of).returncode == 2
        finally:
            agent.terminate()


VSCODE = b"""\
set -e
echo "5d1c: running"
uname -sm; echo "$SHELL|$HOME|$PATH" >/dev/null
mkdir -p "$HOME/.vscode-server/bin" && cd "$HOME/.vscode-server"
cat >server.py <<'END'
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"agent")
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print("Extension host agent listening on", server.server_port, flush=True)
server.serve_forever()
END
nohup python3 server.py >log 2>&1 </dev/null &
while ! grep -q listening log 2>/dev/null; do sleep 0.05; done
echo "listeningOn==$(sed 's/.*listening on //' log)=="
echo "5d1c: end"
"""
"""As Remote-SSH and its forks start: a script on a shell's input, a server that stays, its port in a line."""


def test_vs_code_and_cursor_start(ssh: Ssh) -> None:
    local = free_port()
    with ssh.running("-T", "-D", str(local), "w", "bash") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(VSCODE)
        process.stdin.flush()
        lines = []
        while not (lines and lines[-1] == b"5d1c: end\n"):
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        assert lines[0] == b"5d1c: running\n"
        port = int(lines[-2].split(b"==")[1])
        page = ("curl", "-s", "--socks5-hostname", f"127.0.0.1:{local}", f"127.0.0.1:{port}/")
        assert ssh.run(*page).stdout == b"agent"
        process.stdin.close()
        assert process.wait(60) == 0
    # The window was closed, and its server has stayed for the next one.
    with ssh.running("-N", "-L", f"{local}:127.0.0.1:{port}", "w"):
        assert until(lambda: ssh.run("curl", "-s", f"127.0.0.1:{local}/").stdout == b"agent")


def test_zed_and_jetbrains_gateway_start(ssh: Ssh) -> None:
    """A connection that is shared: questions, an upload, and a program that is spoken with for long."""
    control = ["-o", f"ControlPath={ssh.place}/c"]
    with ssh.running("-N", "-o", "ControlMaster=yes", *control, "w") as master:
        assert until((ssh.place / "c").exists), master.poll()
        assert b"Linux" in ssh.ssh(*control, "w", "uname -sm").stdout
        assert ssh.ssh(*control, "w", 'sh -c "command -v tar && echo $HOME"').returncode == 0
        program = b"#!/bin/sh\nexec cat\n"
        packed = subprocess.run(["gzip", "-c"], input=program, capture_output=True, check=True)
        (ssh.place / "server.gz").write_bytes(packed.stdout)
        assert ssh.ssh(*control, "w", "mkdir -p .server").returncode == 0
        batch = b"put server.gz .server/server.gz\nls -l .server\n"
        done = ssh.run(*ssh.command("sftp", *control, "-b", "-", "w"), stdin=batch)
        assert done.returncode == 0, done.stderr
        install = "cd .server && gunzip -f server.gz && chmod 755 server"
        assert ssh.ssh(*control, "w", install).returncode == 0
        with ssh.running(*control, "w", "exec .server/server proxy --identifier w") as spoken:
            assert spoken.stdin is not None
            assert spoken.stdout is not None
            for number in range(20):
                frame = number.to_bytes(4, "little") + bytes(range(256))
                spoken.stdin.write(frame)
                spoken.stdin.flush()
                assert spoken.stdout.read(len(frame)) == frame
            spoken.stdin.close()
            assert spoken.wait(20) == 0


def test_no_key_is_needed_where_the_client_is_signed_in(ssh: Ssh) -> None:
    login = ("login", "--server", ssh.server.url, "--email", ssh.person.email, "--password-stdin")
    assert ssh.coditect(*login, stdin=f"{PASSWORD}\n".encode()).returncode == 0
    assert ssh.coditect("ssh-config", "--write").returncode == 0
    assert (ssh.place / ".ssh" / "config").read_text() == "Include coditect_config\n"
    written = ["ssh", "-F", str(ssh.place / ".ssh" / "coditect_config"), "-o", "BatchMode=yes"]
    done = ssh.run(*written, "coditect.default", "echo carried; exit 5")
    assert (done.returncode, done.stdout) == (5, b"carried\n"), done.stderr
    unknown = ssh.run(*written, "coditect.nothing", "true")
    assert unknown.returncode == 255
    assert b"no session 'nothing'" in unknown.stderr
    keys = json.loads(ssh.coditect("ssh-key", "ls", "--json").stdout)
    assert [key["last_used_at"] for key in keys] == [None]
    assert ssh.coditect("ssh-key", "rm", keys[0]["key_id"]).returncode == 0
    assert ssh.ssh("w", "true").returncode == 255


async def test_what_is_not_ones_own_is_unknown_and_what_is_weak_is_refused(
    ssh: Ssh, new_person: Callable
) -> None:
    other = await new_person()
    for user in (other.session_id, other.email, "nobody", f"no/{ssh.person.email}"):
        refused = ssh.ssh("-l", user, "w", "true")
        assert refused.returncode == 255
        assert b"Permission denied (publickey)" in refused.stderr
    for weak in ("Ciphers=aes128-cbc", "KexAlgorithms=diffie-hellman-group14-sha1"):
        assert b"no matching" in ssh.ssh("-o", weak, "w", "true").stderr
    done = ssh.ssh("-A", "-X", "w", "echo ${SSH_AUTH_SOCK-none}${DISPLAY-none}")
    assert done.stdout == b"nonenone\n"
    assert ssh.ssh("-l", ssh.person.email, "w", "echo mine").stdout == b"mine\n"


async def test_a_sleeping_session_wakes_and_says_nothing_before(ssh: Ssh) -> None:
    assert ssh.ssh("w", "echo kept >file").returncode == 0
    await ssh.person.client.hibernate(ssh.person.session_id)
    done = ssh.ssh("w", "cat file")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"kept\n", b"")


async def test_who_works_is_attached_and_hears_of_every_end(
    ssh: Ssh, server: ServerProcess
) -> None:
    client, session_id = ssh.person.client, ssh.person.session_id
    with ssh.running("w", "echo up; exec sleep 100") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"up\n"
        record = (await client.containers())[0]
        os.kill(server.containers()[record.container_id], signal.SIGKILL)
        assert process.wait(60) == 255
        assert b"the container has ended" in process.stderr.read()
    assert ssh.ssh("w", "echo again").stdout == b"again\n"
    with ssh.running("w", "echo up; exec sleep 100") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"up\n"
        await client.logout()  # a key is a login of its own
        assert process.poll() is None
        await client.login(ssh.person.email, PASSWORD)
        await client.remove_ssh_key((await client.ssh_keys())[0].key_id)
        assert process.wait(60) == 255
        assert b"revoked" in process.stderr.read()
    assert session_id


def test_the_gateway_is_back_at_its_port_when_it_was_killed(
    ssh: Ssh, server: ServerProcess
) -> None:
    assert ssh.ssh("w", "true").returncode == 0
    [gateway] = [each for each in server.family() if "SshActor" in " ".join(name_of(each))]
    gateway.kill()
    assert until(lambda: ssh.ssh("w", "true").returncode == 0)


def name_of(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False
