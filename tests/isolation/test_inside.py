"""Programs find their own configuration, limits and places inside, and nothing of the host's."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from cluster.runtime.registry import Processes
from cluster.runtime.root import view
from tests.isolation.inside import run, spec

pytestmark = pytest.mark.sandbox


async def said(container, script: str) -> str:
    result = await run(container, script)
    assert result.exit_code == 0, result
    return result.stdout


async def test_nothing_in_proc_but_processes_is_the_hosts(container):
    script = """
    cd /proc; for name in *; do case $name in [0-9]*|self|thread-self|net|mounts) continue;; esac
      [ -d $name ] && [ $name != sys ] && echo "$name $(ls -A $name 2>/dev/null | wc -l)" && continue
      echo "$name $(cat $name 2>/dev/null | wc -c)"; done
    """
    found = dict(line.split() for line in (await said(container, script)).splitlines())
    empty = {name for name, size in found.items() if size == "0"}
    reported = set(found) - empty
    allowed = {"cpuinfo", "meminfo", "stat", "loadavg", "swaps", "cgroups", "uptime", "version"}
    assert reported <= allowed | {"filesystems", "sys", "sysvipc"}
    assert {"cmdline", "interrupts", "kallsyms", "partitions", "diskstats", "keys", "kmsg"} <= empty


async def test_the_kernels_settings_are_few_and_fixed(container):
    assert await said(container, "cat /proc/sys/kernel/osrelease") == os.uname().release + "\n"
    script = "cat /proc/sys/kernel/hostname; ls /proc/sys/kernel/random; cat /proc/sys/kernel/random/uuid"
    answer = (await said(container, script)).split()
    assert answer[:2] == ["workspace", "uuid"]
    assert re.fullmatch(r"[0-9a-f-]{36}", answer[2])
    script = "cd /proc/sys; ls kernel/core_pattern kernel/random/boot_id; echo x > vm/swappiness"
    assert (await run(container, script)).stdout == ""
    assert (await run(container, script)).stderr.count("No such file") == 2


async def test_programs_see_the_containers_memory_and_processors(make_runtime):
    container = await make_runtime().launch(spec(cpu=1.0, memory_bytes=384 << 20))
    assert await said(
        container, "nproc; grep -c ^processor /proc/cpuinfo; grep -c '^cpu[0-9]' /proc/stat"
    ) == ("1\n1\n1\n")
    assert "MemTotal:         393216 kB" in await said(container, "cat /proc/meminfo")
    assert (await said(container, "free -b | awk '/^Mem:/{print $2}'")).strip() == str(384 << 20)
    script = "python3 -c 'import os; print(os.cpu_count(), len(os.sched_getaffinity(0)))'"
    if shutil.which("python3", path="/usr/bin"):
        assert (await said(container, script)).split() == ["1", "1"]
    await said(container, "ps aux | grep -q '[p]s aux'; top -bn1 | head -3; uptime")


async def test_java_sees_them_too(make_runtime):
    if not os.path.exists("/usr/bin/java"):
        pytest.skip("no Java on this machine")
    container = await make_runtime().launch(spec(cpu=1.0, memory_bytes=1 << 30, pids=256))
    answer = await run(container, "java -XshowSettings:system -version 2>&1")
    assert answer.exit_code == 0, answer
    group = Processes.of(container).group
    if group is not None and "memory" in group.controllers:
        assert "Memory Limit: 1.00G" in answer.stdout
    script = """
    cat > A.java <<'X'
    public class A { public static void main(String[] a) {
        System.out.println(Runtime.getRuntime().availableProcessors()); } }
X
    java A.java
    """
    assert (await said(container, script)).strip() == "1"


async def test_man_finds_pages(container):
    if not Path("/usr/bin/man").exists() or not list(Path("/usr/share/man/man1").glob("ls.1*")):
        pytest.skip("no man-db, or no pages, on this machine")
    assert "/usr/share/man/man1/ls.1" in await said(container, "man -w ls")


async def test_etc_has_what_programs_need_and_nothing_of_the_hosts(container):
    denied = "shadow passwd- ssh sudoers crontab cron.d fstab machine-id systemd pam.d apt gitconfig pip.conf"
    script = f"cd /etc; ls -d {denied} 2>/dev/null; cat passwd hostname hosts resolv.conf"
    result = await run(container, script)
    assert "alice" not in result.stdout
    assert os.uname().nodename == "workspace" or os.uname().nodename not in result.stdout.split()
    lines = result.stdout.splitlines()
    assert lines[0].startswith("root:x:0:0:"), lines
    await said(
        container, "test -r /etc/profile && test -r /etc/ld.so.cache && test -d /etc/alternatives"
    )


async def test_a_users_own_programs_are_found(container):
    assert await said(container, 'mkdir -p ~/.local/bin; printf "#!/bin/sh\\necho mine" > ~/.local/bin/mine;'
                      " chmod +x ~/.local/bin/mine; mine") == "mine\n"  # fmt: skip
    assert "UTF-8" in await said(container, "locale charmap 2>/dev/null || echo UTF-8; echo $LANG")
    editor = (await said(container, "echo $EDITOR")).strip()
    assert not editor or shutil.which(editor, path="/usr/bin")


async def test_pip_installs_for_the_user_and_its_programs_are_found(container):
    if not Path("/usr/bin/pip3").exists():
        pytest.skip("no pip for the system's Python on this machine")
    script = """
    mkdir -p p/hello && cd p && echo 'def main(): print("hello")' > hello/__init__.py
    cat > pyproject.toml <<'X'
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
X
    cat > backend.py <<'X'
import zipfile, os
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "hello-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as z:
        z.write("hello/__init__.py")
        z.writestr("hello-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: hello\\nVersion: 1\\n")
        z.writestr("hello-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        z.writestr("hello-1.dist-info/entry_points.txt", "[console_scripts]\\nhello = hello:main\\n")
        z.writestr("hello-1.dist-info/RECORD", "")
    return name
X
    /usr/bin/pip3 install --no-index --user . >/dev/null 2>&1; cd; hello
    """
    assert await said(container, script) == "hello\n"


def test_what_is_shown_is_made_of_this_machine():
    assert "cmdline" in view.entries()
