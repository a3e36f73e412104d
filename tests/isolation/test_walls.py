"""Walls round somebody in a container, and the freedom within."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import pytest

from actors.core.records.containers import Health
from cluster.runtime.root import seccomp
from tests.isolation.inside import run, spec

pytestmark = pytest.mark.sandbox

PYTHON = os.path.realpath(sys.executable)


async def test_processes_have_no_capability_and_cannot_gain_any(container):
    status = (await run(container, "cat /proc/self/status")).stdout
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert re.search(rf"{kind}:\t0+\n", status), kind
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


async def test_the_user_is_an_ordinary_one_in_its_own_home(container):
    result = await run(container, "id -u; id -g; id -G; whoami; pwd; echo $HOME; hostname")
    assert result.stdout.split("\n")[:-1] == [
        *("1000", "1000", "1000", "user", "/workspace", "/workspace", "workspace")
    ]


async def test_outside_the_user_is_never_root(container):
    init = container.data["agent"]["pid"]
    uids = re.search(r"Uid:\t(\d+)\t(\d+)", Path(f"/proc/{init}/status").read_text())
    assert "0" not in uids.groups()
    if os.geteuid() != 0:
        assert int(uids[1]) == os.geteuid()


async def test_nothing_outside_of_the_workspace_and_memory_can_be_written(container):
    script = """
    for place in / /usr /etc /dev /run /var /proc /usr/bin /workspace/..; do
        touch "$place/probe" 2>/dev/null && echo "wrote $place"
    done
    for place in /workspace /tmp /var/tmp /dev/shm; do touch "$place/probe" || echo "not $place"; done
    """
    result = await run(container, script)
    assert result.stdout == ""
    assert result.stderr == ""


async def test_kernel_parameters_cannot_be_written(container):
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    result = await run(container, "echo '|/bin/sh' > /proc/sys/kernel/core_pattern")
    assert result.exit_code != 0
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


async def test_files_of_the_machine_are_not_seen(container, tmp_path):
    (tmp_path / "secret").write_text("of the machine")
    script = f"""
    cat {tmp_path}/secret; ls /home /boot /sys/class /sys/block /sys/kernel
    cat /etc/shadow; ls -A /etc/ssl/private
    """
    result = await run(container, script)
    assert result.stdout == ""
    passwd = (await run(container, "cut -d: -f1 /etc/passwd")).stdout.split()
    assert passwd == ["root", "codi", "user", "nobody"]


async def test_processes_of_the_machine_are_not_seen(container):
    result = await run(container, f"ls /proc | grep -cE '^[0-9]+$'; kill -0 {os.getpid()}")
    assert int(result.stdout) < 10
    assert "No such process" in result.stderr


async def test_there_is_no_network_but_loopback(container):
    with socket.create_server(("127.0.0.1", 0)) as of_the_machine:
        port = of_the_machine.getsockname()[1]
        result = await run(
            container,
            f"""
            cut -d: -f1 /proc/net/dev | tail -n +3
            (echo > /dev/tcp/127.0.0.1/{port}) 2>&1
            (echo > /dev/tcp/8.8.8.8/53) 2>&1
            """,
        )
    assert result.stdout.split("\n")[0].strip() == "lo"
    assert "Connection refused" in result.stdout
    assert "Network is unreachable" in result.stdout


async def test_one_container_cannot_reach_another(runtime):
    one, two = await runtime.launch(spec("one")), await runtime.launch(spec("two"))
    port = two.address.rpartition(":")[2]
    result = await run(
        one, f"(echo > /dev/tcp/127.0.0.1/{port}) 2>&1; ls /proc/net/unix; ls /workspace"
    )
    assert "Connection refused" in result.stdout


async def test_abstract_and_virtual_machine_sockets_do_not_reach_the_machine(container):
    with socket.socket(socket.AF_UNIX) as of_the_machine:
        of_the_machine.bind("\0coditect-test-wall")
        of_the_machine.listen()
        script = """
import socket
for family, address in ((socket.AF_UNIX, "\\0coditect-test-wall"), (socket.AF_VSOCK, (2, 1))):
    try: socket.socket(family).connect(address)
    except OSError as error: print(error.errno)
    else: print("connected")
"""
        result = await run(container, f"{PYTHON} -c '{script}'")
    assert result.stdout.split() == ["111", "97"]  # refused; address family not supported


@pytest.mark.parametrize(
    "command",
    [
        "unshare --user true",
        "unshare --mount true",
        "unshare --net true",
        "mount -t tmpfs none /tmp",
        "umount /proc/sys",
        "chroot / true",
        "nsenter --target 1 --mount true",
        "date --set 2001-01-01",
        "dmesg",
    ],
)
async def test_calls_that_reach_outside_are_refused(container, command):
    result = await run(container, command)
    assert result.exit_code != 0


async def test_typing_into_a_terminal_from_behind_is_refused(container):
    script = """
import fcntl, pty, termios
master, slave = pty.openpty()
try: fcntl.ioctl(slave, termios.TIOCSTI, b"x")
except PermissionError: print("refused")
print(fcntl.ioctl(slave, termios.TIOCGWINSZ, b"12345678") is not None)
"""
    result = await run(container, f"{PYTHON} -c '{script}'")
    assert result.stdout.split() == ["refused", "True"], result.stderr


async def test_descriptors_of_the_server_are_not_inherited(runtime):
    leaky = os.open("/etc/shadow" if os.geteuid() == 0 else "/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leaky, True)
    try:
        container = await runtime.launch(spec())
    finally:
        os.close(leaky)
    links = (await run(container, "ls -l /proc/2/fd | tail -n +2 | sed 's/.*-> //'")).stdout
    assert "/etc/" not in links
    assert "user:[" not in links
    sockets = [link for link in links.split() if link.startswith("socket:")]
    assert len(sockets) == 2  # the listening one, and the one that asks this


async def test_secrets_are_in_no_command_line_and_no_environment(runtime):
    container = await runtime.launch(spec(secret="very-secret", env={"TOKEN": "also-secret"}))
    for process in ("monitor", "init", "agent"):
        pid = container.data[process]["pid"]
        assert b"secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert (await run(container, "echo $TOKEN")).stdout == "also-secret\n"


async def test_ordinary_work_is_not_hindered(container):
    script = """
    set -e
    echo one > a; mv a b; ln -s b c; mkdir -p d/e; cp -r d f; rm -r d
    python3 --version || true
    sort < b | tr a-z A-Z
    echo 'int main(){return 0;}' > x.c; (command -v gcc && gcc x.c -o x && ./x) >/dev/null || true
    sleep 0.01 & wait
    getent hosts localhost | head -1
    git init -q repo 2>/dev/null || true
    date > /dev/null; mktemp > /dev/null; df /tmp > /dev/null
    """
    result = await run(container, script)
    assert result.exit_code == 0, result.stderr
    assert "ONE" in result.stdout


async def test_memory_backed_file_systems_have_a_limit(runtime):
    container = await runtime.launch(spec(memory_bytes=256 << 20))
    for place, limit in (("/tmp", 64), ("/dev/shm", 64)):
        result = await run(
            container, f"head -c {limit + 1}M /dev/zero > {place}/big; rm {place}/big"
        )
        assert "No space left on device" in result.stderr
    assert await runtime.probe(container) is Health.HEALTHY


async def test_every_call_of_the_deny_list_is_denied_by_the_kernel(container):
    architecture = seccomp.ARCHITECTURES.get(os.uname().machine)
    if architecture is None:
        pytest.skip(f"no filter is known for {os.uname().machine}")
    by_argument = {"clone", "ioctl", "socket", "personality"}
    calls = {name: nr for name, nr in architecture.calls.items() if name not in by_argument}
    script = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for name, number in {calls!r}.items():
    assert libc.syscall(number, 0, 0, 0, 0, 0, 0) == -1, name
    print(name, ctypes.get_errno())
"""
    result = await run(container, f"{PYTHON} - <<'END'\n{script}\nEND")
    answers = dict(line.split() for line in result.stdout.splitlines())
    absent = ("clone3", "io_setup")  # ENOSYS: programs do without
    assert [answers.pop(name) for name in absent] == ["38", "38"], result.stderr
    assert set(answers) == set(calls) - set(absent)
    assert set(answers.values()) == {"1"}, answers
