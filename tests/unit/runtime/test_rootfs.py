from __future__ import annotations

from cluster.runtime.root import bwrap, rootfs
from cluster.runtime.root.bwrap import Bubblewrap, Descriptors
from cluster.runtime.root.rootfs import AGENT_ID, USER_ID, Layout

KERNEL = ("--ro-bind", "/data/view/proc/stat", "/proc/stat")
LAYOUT = Layout("/data/w-1", "/data/etc", ["/opt/python", "/usr/lib/codi"], 1000, 500, KERNEL)


def options(links=("bin", "lib"), existing=("/lib64",)):
    return rootfs.mounts(
        LAYOUT,
        exists=lambda path: path in existing,
        read_link=lambda path: f"usr{path}" if path[1:] in links else None,
    )


def places(options, kind):
    return [options[at + 2] for at, option in enumerate(options) if option == kind]


def test_only_the_workspace_is_bound_to_be_written():
    assert places(options(), "--bind") == ["/workspace"]
    assert "--dev-bind" not in options()


def test_the_machine_is_shown_read_only_and_in_part():
    shown = places(options(), "--ro-bind")
    assert shown == ["/usr", "/lib64", "/etc", "/proc/stat", "/opt/python"]


def test_links_into_usr_are_made_again():
    assert places(options(), "--symlink")[:2] == ["/bin", "/lib"]


def test_everything_that_lies_in_memory_has_a_size():
    made = options(existing=())
    for at, option in enumerate(made):
        if option == "--tmpfs":
            assert made[at - 2] == "--size", made[at + 1]


def test_the_root_is_closed_last():
    assert options()[-2:] == ["--remount-ro", "/"]


def test_parents_of_what_is_shown_can_be_entered():
    made = options()
    at = made.index("/opt")
    assert made[at - 3 : at] == ["--perms", "0755", "--dir"]


def test_a_given_variable_wins_over_the_usual_one():
    made = rootfs.environment({"HOME": "/elsewhere", "A": "b"}, exists=lambda _: False)
    assert made[0] == "--clearenv"
    assert made[made.index("HOME") + 1] == "/elsewhere"
    assert made[made.index("A") + 1] == "b"
    assert made.count("HOME") == 1


def test_the_best_editor_that_is_there_is_the_usual_one():
    def editor(*there):
        made = rootfs.environment({}, exists=lambda path: path in there)
        return made[made.index("EDITOR") + 1] if "EDITOR" in made else None

    assert editor("/usr/bin/vi", "/usr/bin/vim") == "vim"
    assert editor("/usr/bin/vi", "/usr/bin/nano") == "nano"
    assert editor() is None


def test_an_ordinary_users_container_has_a_namespace_of_its_own_and_no_capability():
    made = bwrap.isolation(Descriptors(3, 4, 5), "host", as_root=False)
    assert {"--unshare-user", "--disable-userns", "--as-pid-1", "--new-session"} <= set(made)
    assert made[made.index("--cap-drop") + 1] == "ALL"
    assert "--cap-add" not in made
    assert "setpriv" not in bwrap.inside(["x"], as_root=False)


def test_roots_container_gives_its_capabilities_up_before_the_command():
    assert "--unshare-user" not in bwrap.isolation(Descriptors(3, 4, None), "host", as_root=True)
    command = bwrap.inside(["codi", "--flag"], as_root=True)
    assert command[-2:] == ["codi", "--flag"]
    assert {
        "--ruid",
        "--euid",
        "--regid",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    } <= set(command)
    assert command[command.index("--ruid") + 1] == str(USER_ID)
    lasting = bwrap.inside(["codi"], as_root=True, lasts=True)
    assert lasting[lasting.index("--ruid") + 1] == str(AGENT_ID)
    assert lasting[lasting.index("--euid") + 1] == str(USER_ID)


def test_without_a_filter_none_is_asked_for():
    assert "--seccomp" not in bwrap.isolation(Descriptors(3, 4, None), "host", as_root=True)


def test_a_safe_bubblewrap_of_the_system_is_chosen_then_the_wheels_then_any():
    old, recent, safe = (Bubblewrap("/p", version) for version in ((0, 8), (0, 11), (0, 12, 1)))
    ancient = Bubblewrap("/p", (0, 4, 1))
    assert bwrap.choose(safe, recent) is safe
    assert bwrap.choose(old, recent) is recent
    assert bwrap.choose(old, None) is old
    assert bwrap.choose(None, recent) is recent
    assert bwrap.choose(ancient, None) is None
    assert bwrap.choose(None, None) is None


def test_the_version_is_found_by_running_the_binary(tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho bubblewrap 1.2.3\n")
    fake.chmod(0o755)
    assert bwrap.examine(str(fake)) == Bubblewrap(str(fake), (1, 2, 3))
    fake.write_text("#!/bin/sh\necho something else\n")
    assert bwrap.examine(str(fake)) is None
    assert bwrap.examine(str(tmp_path / "missing")) is None


def test_options_are_handed_over_with_nul_between_them():
    assert bwrap.encode(["--a", "b c\n"]) == b"--a\0b c\n\0"


def test_programs_trust_the_authorities_that_the_machine_does_if_it_has_any():
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    assert bundle in rootfs.environment({}, exists=lambda path: path == bundle)
    assert bundle not in rootfs.environment({}, exists=lambda _: False)
