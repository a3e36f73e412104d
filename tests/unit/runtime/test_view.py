"""The view that containers have of processors, memory and the kernel."""

from __future__ import annotations

import pytest

from cluster.runtime.root import view

CPUS = "".join(f"processor\t: {n}\nmodel name\t: x\n\n" for n in range(8))
HOST = {
    "/proc/cpuinfo": CPUS,
    "/proc/stat": "cpu 1 2\ncpu0 1 2\nbtime 1700000000\n",
    "/proc/cgroups": "#subsys_name\thierarchy\n",
    "/proc/sys/kernel/osrelease": "6.1\n",
}


@pytest.mark.parametrize(
    ("cpu", "host", "seen"), [(2.0, 8, 2), (0.5, 8, 1), (1.5, 8, 2), (64, 8, 8)]
)
def test_a_part_of_a_processor_is_one(cpu, host, seen):
    assert view.processors(cpu, host) == seen


def test_a_container_runs_on_as_many_processors_as_it_sees_and_others_on_others():
    usable = list(range(3, 11))
    chosen = [view.pinned(f"c-{number}", 2, usable) for number in range(200)]
    assert all(len(each) == 2 and each < set(usable) for each in chosen)
    counts = [sum(cpu in each for each in chosen) for cpu in usable]
    assert min(counts) > 20  # 50 each, give or take
    assert view.pinned("c-1", 8, usable) == set(usable)
    assert view.pinned("c-1", 99, usable) == set(usable)
    assert view.pinned("c-7", 2, usable) == view.pinned("c-7", 2, usable)


def test_files_state_the_limits():
    files = view.files(2, 512 << 20, HOST)
    assert files["proc/cpuinfo"].count("processor") == 2
    assert "MemTotal:         524288 kB\n" in files["proc/meminfo"]
    assert [line.split()[0] for line in files["proc/stat"].splitlines()][:3] == [
        "cpu",
        "cpu0",
        "cpu1",
    ]
    assert "btime 1700000000" in files["proc/stat"]
    assert files["sys/devices/system/cpu/online"] == "0-1\n"
    assert view.files(1, 1 << 20, HOST)["sys/devices/system/cpu/online"] == "0\n"
    assert files["proc/sys/kernel/osrelease"] == "6.1\n"


def test_whatever_is_not_known_to_be_harmless_is_covered():
    entries = {
        "1": True,
        "self": True,
        "uptime": False,
        "stat": False,
        "cmdline": False,
        "bus": True,
    }
    entries |= {"invented-tomorrow": False, "sys": True, "net": True}
    entries |= {"sys/net": True, "sys/user": True, "sys/kernel": True, "sys/new": True}
    made = view.options("/v", entries)
    covered = {
        made[at + 2]: made[at + 1] for at, option in enumerate(made) if option == "--ro-bind"
    }
    assert covered == {
        "/proc/bus": "/v/empty",
        "/proc/cmdline": "/dev/null",
        "/proc/invented-tomorrow": "/dev/null",
        "/proc/stat": "/v/proc/stat",
        "/proc/sys": "/proc/sys",
        "/proc/sys/kernel": "/v/proc/sys/kernel",
        "/proc/sys/new": "/v/empty",
        "/proc/sys/kernel/random/uuid": "/proc/sys/kernel/random/uuid",
        "/sys": "/v/sys",
    }


def test_the_directory_is_made_once_and_whole(tmp_path):
    first = view.prepare(tmp_path, 1.0, 1 << 30)
    assert view.prepare(tmp_path, 1.0, 1 << 30) == first
    assert view.prepare(tmp_path, 1.0, 2 << 30) != first
    for name in (
        "proc/meminfo",
        "proc/stat",
        "proc/sys/kernel/cap_last_cap",
        "sys/devices/system/cpu/online",
    ):
        assert (first / name).read_text()
    assert (first / "proc/sys/kernel/random/uuid").exists()


def test_a_container_is_shown_its_own_group_only():
    one = view.control_groups({"": "/sys/fs/cgroup/coditect/c-1"})
    assert one == ["--ro-bind", "/sys/fs/cgroup/coditect/c-1", "/sys/fs/cgroup"]
    two = view.control_groups(
        {"cpu": "/sys/fs/cgroup/cpu,cpuacct/g", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/g"}
    )
    assert two == ["--ro-bind", "/sys/fs/cgroup/cpu,cpuacct/g", "/sys/fs/cgroup/cpu,cpuacct"]
    assert view.control_groups({"cpu": "/elsewhere/g"}) == []
    assert view.control_groups({}) == []
