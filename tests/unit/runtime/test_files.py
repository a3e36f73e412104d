"""Files of the runtimes: workspaces, the registry, the containers' /etc."""

from __future__ import annotations

import os

import pytest

from actors.core.records.containers import ContainerHandle
from cluster.runtime import trees
from cluster.runtime.disks.workspaces import Workspaces, check_id
from cluster.runtime.ending import reason
from cluster.runtime.processes import ProcessIdentity
from cluster.runtime.registry import Entry, Processes, Registry, Status, parse_status
from cluster.runtime.root import etc

ME = ProcessIdentity(pid=1, start_ticks=2, boot_id="b")


@pytest.fixture
def kept(tmp_path):
    return Workspaces(tmp_path / "workspaces", tmp_path / "trash")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_tree_of_any_depth_is_given_away_and_links_are_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "roots").write_text("kept")
    given = tmp_path / "given"
    (given / "wide" / "a").mkdir(parents=True)
    (given / "wide" / "b").mkdir()
    for name in ("wide/a/1", "wide/b/2", "3"):
        (given / name).write_text("x")
    (given / "wide" / "to-directory").symlink_to(outside)
    (given / "to-file").symlink_to(outside / "roots")
    deepest = os.open(given, os.O_RDONLY)
    for _ in range(1500):  # more than Python goes down
        os.mkdir("d", dir_fd=deepest)
        below = os.open("d", os.O_RDONLY, dir_fd=deepest)
        os.close(deepest)
        deepest = below
    trees.give(given, 1_900_000_000)
    try:
        assert os.fstat(deepest).st_uid == 1_900_000_000
    finally:
        os.close(deepest)
    for name in ("", "wide", "wide/a", "wide/a/1", "wide/b", "wide/b/2", "3", "to-file", "d"):
        assert (given / name).lstat().st_uid == 1_900_000_000, name
    assert (given / "wide" / "to-directory").lstat().st_gid == 1_900_000_000
    assert {outside.stat().st_uid, (outside / "roots").stat().st_uid} == {0}
    trees.empty(given)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_nothing_beside_a_tree_is_given_away_when_its_directories_move(tmp_path, monkeypatch):
    given = tmp_path / "given"
    (given / "a" / "b").mkdir(parents=True)
    beside = tmp_path / "beside"
    beside.write_text("kept")
    entries = trees._give_entries

    def moving(directory, owner):
        if os.fstat(directory).st_ino == (given / "a" / "b").stat().st_ino:
            (given / "a" / "b").rename(tmp_path / "b")
            monkeypatch.setattr(trees, "_give_entries", entries)
        return entries(directory, owner)

    monkeypatch.setattr(trees, "_give_entries", moving)
    with pytest.raises(OSError, match="Stale"):
        trees.give(given, 1_900_000_000)
    assert beside.stat().st_uid == 0
    assert given.stat().st_uid == 0  # so that it is done again


async def test_a_workspace_is_removed_with_all_its_contents_and_links_are_not_followed(
    kept, tmp_path
):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    path = kept.ensure("w-1")
    (path / "to-directory").symlink_to(outside)
    (path / "to-file").symlink_to(outside / "precious")
    (path / "a" / "b").mkdir(parents=True)
    (path / "a" / "b" / "up").symlink_to("../../../..")
    os.mkfifo(path / "a" / "pipe")
    (path / "name\nwith newline").write_text("x")
    locked = path / "a" / "locked"
    locked.mkdir()
    (locked / "file").write_text("x")
    locked.chmod(0)
    (path / "a").chmod(0o500)
    await kept.delete("w-1")
    assert not path.exists()
    assert list((tmp_path / "trash").iterdir()) == []
    assert (outside / "precious").read_text() == "kept"


async def test_a_tree_deeper_than_any_path_or_stack_is_removed(kept, tmp_path):
    directory = os.open(kept.ensure("w-1"), os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d" * 100, dir_fd=directory)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)
    await kept.delete("w-1")
    assert list((tmp_path / "trash").iterdir()) == []


async def test_what_an_interrupted_removal_left_is_removed_by_the_next(kept, tmp_path):
    (tmp_path / "trash" / "old" / "w-0" / "deep").mkdir(parents=True)
    await kept.delete("w-1")
    assert list((tmp_path / "trash").iterdir()) == []


def test_a_workspace_that_is_there_keeps_its_contents(kept):
    (kept.ensure("w-1") / "file").write_text("x")
    assert (kept.ensure("w-1") / "file").read_text() == "x"
    assert kept.path("w-1").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_contents_change_hands_with_the_directory_and_links_do_not(tmp_path):
    kept = Workspaces(tmp_path / "workspaces", tmp_path / "trash", owners=(12345,))
    outside = tmp_path / "outside"
    outside.write_text("x")
    path = tmp_path / "workspaces" / "w-1"
    path.mkdir(parents=True)
    (path / "link").symlink_to(outside)
    (path / "file").write_text("x")
    kept.ensure("w-1")
    assert {p.lstat().st_uid for p in (path, path / "link", path / "file")} == {12345}
    assert outside.stat().st_uid == 0


def entry(container_id="c-1", **data):
    handle = ContainerHandle(
        container_id=container_id,
        tenant_id="t",
        node_id="n",
        workspace_id="w",
        runtime="sandbox",
        address="127.0.0.1:1",
        secret="s",
        data=Processes(**data).model_dump(mode="json"),
    )
    return Entry(handle=handle, launcher=ME, started_at=1.0)


def test_an_entry_is_read_as_it_was_written_and_kept_from_others(tmp_path):
    registry = Registry(tmp_path / "r")
    registry.prepare()
    registry.write(entry(init=ME))
    assert registry.read("c-1") == entry(init=ME)
    assert registry.ids() == ["c-1"]
    assert [p.stat().st_mode & 0o777 for p in (tmp_path / "r").iterdir()] == [0o600]
    registry.remove("c-1")
    registry.remove("c-1")
    assert registry.ids() == []
    assert registry.read("c-1") is None


def test_a_broken_entry_is_no_entry(tmp_path):
    registry = Registry(tmp_path)
    (tmp_path / "c-1.json").write_text("{")
    assert registry.read("c-1") is None


def test_nothing_was_ever_launched_and_nothing_is_listed(tmp_path):
    assert Registry(tmp_path / "missing").ids() == []
    assert Registry(tmp_path / "missing").status("c-1") == Status()
    assert Registry(tmp_path / "missing").last_words("c-1") == ""


def test_the_last_words_of_a_log_fit_one_line(tmp_path):
    (tmp_path / "c-1.log").write_bytes(b"x" * 9000 + b"\none\n\n two\n\xff three\n")
    assert Registry(tmp_path).last_words("c-1", lines=4) == "one | two | \ufffd three"


def test_an_incomplete_line_of_bubblewraps_status_is_left_out():
    assert parse_status('{ "child-pid": 7 }\n{ "exit-co', 1.0) == Status(
        child_pid=7, written_at=1.0
    )
    assert parse_status('{ "child-pid": 7 }\n{ "exit-code": 137 }\n', 1.0).exit_code == 137
    assert parse_status("", 1.0).child_pid is None


@pytest.mark.parametrize(
    ("status", "oom", "expected"),
    [
        (Status(), False, "stopped"),
        (Status(written_at=1.0), False, "ended"),
        (Status(written_at=1.0, exit_code=0), False, "ended by itself"),
        (Status(written_at=1.0, exit_code=137), False, "killed by signal 9"),
        (Status(written_at=1.0, exit_code=137), True, "killed: out of memory"),
        (Status(written_at=1.0, exit_code=1), True, "exited with code 1: words"),
    ],
)
def test_the_reason_of_an_end_is_reported_in_words(status, oom, expected):
    assert reason(status, "words", out_of_memory=oom) == expected


def test_the_containers_etc_holds_our_files_and_nothing_that_others_may_not_read(tmp_path):
    machine = tmp_path / "machine"
    (machine / "ssl" / "certs").mkdir(parents=True)
    (machine / "ssl" / "private").mkdir()
    (machine / "ssl" / "private" / "key").write_text("secret")
    (machine / "ssl" / "certs" / "ca.pem").write_text("public")
    (machine / "ssl" / "certs" / "guarded.pem").write_text("secret")
    (machine / "ssl" / "certs" / "guarded.pem").chmod(0o600)
    (machine / "shadow").write_text("secret")
    (machine / "passwd").write_text("alice:x:1:1::/home/alice:/bin/sh\n")
    (machine / "localtime").symlink_to("/usr/share/zoneinfo/UTC")
    made = etc.prepare(tmp_path / "runtime", machine, tmp_path / "none")
    assert (made / "ssl" / "certs" / "ca.pem").read_text() == "public"
    assert not (made / "ssl" / "certs" / "guarded.pem").exists()
    assert not (made / "ssl" / "private").exists()
    assert not (made / "shadow").exists()
    assert "alice" not in (made / "passwd").read_text()
    assert os.readlink(made / "localtime") == "/usr/share/zoneinfo/UTC"
    assert etc.prepare(tmp_path / "runtime", machine, tmp_path / "none") == made


def test_a_changed_machine_gets_a_new_etc_and_the_old_one_stays(tmp_path):
    machine = tmp_path / "machine"
    machine.mkdir()
    first = etc.prepare(tmp_path / "runtime", machine)
    (machine / "services").write_text("ssh 22/tcp\n")
    second = etc.prepare(tmp_path / "runtime", machine)
    assert first != second
    assert first.is_dir()
    assert (second / "services").exists()


def test_ids_are_file_names(tmp_path):
    assert check_id("x", "s-1.2_3") == "s-1.2_3"
