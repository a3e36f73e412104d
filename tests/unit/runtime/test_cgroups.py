from __future__ import annotations

from cluster.runtime import cgroups
from cluster.runtime.cgroups import Cgroups, Group, Limits, Mount

V1 = """\
30 25 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
LIMITS = Limits(cpu=1.5, memory_bytes=1 << 30, pids=100)


def test_hierarchies_of_both_versions_are_found():
    assert cgroups.parse_mounts(V1) == [
        Mount("/sys/fs/cgroup/memory", "/", 1, frozenset({"memory"})),
        Mount("/sys/fs/cgroup/cpu,cpuacct", "/", 1, frozenset({"cpu", "cpuacct"})),
        Mount("/sys/fs/cgroup/unified", "/", 2, frozenset()),
    ]


def test_own_groups_are_reported_by_controller():
    own = cgroups.parse_own("4:memory:/a:b\n3:cpu,cpuacct:/c\n1:name=systemd:/x\n0::/user.slice\n")
    assert own == {
        "memory": "/a:b",
        "cpu": "/c",
        "cpuacct": "/c",
        "name=systemd": "/x",
        "": "/user.slice",
    }


def test_a_container_engine_shows_only_a_part_of_the_hierarchy():
    part = Mount("/sys/fs/cgroup/memory", "/docker/abc", 1, frozenset({"memory"}))
    assert cgroups.own_directory(part, "/docker/abc") == "/sys/fs/cgroup/memory"
    assert cgroups.own_directory(part, "/docker/abc/deep") == "/sys/fs/cgroup/memory/deep"
    whole = Mount("/sys/fs/cgroup", "/", 2, frozenset())
    assert cgroups.own_directory(whole, "/user.slice") == "/sys/fs/cgroup/user.slice"
    assert cgroups.own_directory(whole, "/") == "/sys/fs/cgroup"


def test_version_2_looks_for_a_place_from_its_own_group_upwards():
    mount = Mount("/sys/fs/cgroup", "/", 2, frozenset())
    assert cgroups.candidates(mount, "/user.slice/session.scope") == [
        "/sys/fs/cgroup/user.slice/session.scope",
        "/sys/fs/cgroup/user.slice",
        "/sys/fs/cgroup",
    ]


def test_limits_are_written_in_the_words_of_each_version():
    assert cgroups.settings(1, "memory", LIMITS)[0] == ("memory.limit_in_bytes", str(1 << 30), True)
    assert cgroups.settings(2, "memory", LIMITS)[0] == ("memory.max", str(1 << 30), True)
    assert cgroups.settings(2, "memory", LIMITS)[1] == ("memory.swap.max", "0", False)
    assert cgroups.settings(2, "cpu", LIMITS) == [("cpu.max", "150000 100000", True)]
    assert cgroups.settings(1, "cpu", LIMITS)[1] == ("cpu.cfs_quota_us", "150000", True)
    assert cgroups.settings(1, "pids", LIMITS) == cgroups.settings(2, "pids", LIMITS)
    assert cgroups.settings(1, "cpuacct", LIMITS) == []


def test_the_smallest_share_of_a_processor_is_one_that_the_kernel_takes():
    assert cgroups.settings(2, "cpu", Limits(0.0001, 1, 1)) == [("cpu.max", "1000 100000", True)]


def test_a_group_is_made_filled_in_and_removed(tmp_path):
    groups = Cgroups(
        {name: str(tmp_path / name) for name in ("memory", "pids")},
        1,
        frozenset({"memory", "pids"}),
    )
    made = groups.create("c-1", LIMITS)
    assert made.controllers == {"memory", "pids"}
    assert (tmp_path / "memory/c-1/memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (tmp_path / "pids/c-1/pids.max").read_text() == "104"
    assert made.members_files == [
        f"{tmp_path}/{name}/c-1/cgroup.procs" for name in ("memory", "pids")
    ]
    assert not cgroups.remove(made)  # files stand for processes here
    for name in ("memory", "pids"):
        for file in (tmp_path / name / "c-1").iterdir():
            file.unlink()
    assert cgroups.remove(made)
    assert not (tmp_path / "memory").exists()
    assert cgroups.remove(made)


def test_a_machine_without_groups_makes_none():
    groups = Cgroups({}, 2, frozenset())
    assert groups.create("c-1", LIMITS) is None
    assert groups.available == frozenset()


def test_usage_of_version_2_leaves_out_cache_that_could_be_dropped(tmp_path):
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 100\ninactive_file 300\n")
    (tmp_path / "pids.current").write_text("7\n")
    (tmp_path / "memory.events").write_text("oom 1\noom_kill 1\n")
    group = Group(version=2, paths={"": str(tmp_path)})
    assert cgroups.usage(group) == {"cpu_seconds": 2.5, "memory_bytes": 700, "pids": 7}
    assert cgroups.out_of_memory(group)


def test_usage_of_a_group_that_is_gone_is_unknown(tmp_path):
    for version, paths in ((1, {"memory": str(tmp_path / "x")}), (2, {"": str(tmp_path / "x")})):
        assert cgroups.usage(Group(version=version, paths=paths)) == {}
        assert not cgroups.out_of_memory(Group(version=version, paths=paths))
