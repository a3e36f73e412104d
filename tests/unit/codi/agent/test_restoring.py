"""Putting files back into a workspace: nothing is overwritten, nothing is shown half."""

from __future__ import annotations

import os

import pytest

from cluster.codi.agent import kernel
from cluster.codi.agent.files import restoring
from cluster.codi.agent.files.paths import Workspace


@pytest.fixture
def back(tmp_path):
    return restoring.PutBack(Workspace(str(tmp_path)))


def header(path: str, data: bytes = b"", kind: str = "f", **fields) -> dict:
    return {"path": path, "kind": kind, "mode": 0o640, "mtime_ns": 5, "size": len(data)} | fields


def made(back) -> list[str]:
    return [item[0] for item in back.made]


def test_records_are_made_in_one_go_with_their_modes_and_times(back, tmp_path):
    back.make([
        (header("d", kind="d", mode=0o750), b""),
        (header("d/f", b"one"), b"one"),
        (header("deep/er/g", b"two"), b"two"),
        (header("empty"), b""),
        (header("l", kind="l", target="d/f"), b""),
    ])  # fmt: skip
    assert made(back) == ["d", "d/f", "deep/er/g", "empty", "l"]
    assert not back.failed
    assert (tmp_path / "d" / "f").read_bytes() == b"one"
    assert (tmp_path / "d" / "f").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "deep/er/g").stat().st_mtime_ns == 5
    assert (tmp_path / "l").read_bytes() == b"one"
    assert back.made[1][2:5] == [0o640, 3, 5]


def test_what_is_there_stays_as_it_is(back, tmp_path):
    (tmp_path / "f").write_bytes(b"newer")
    (tmp_path / "was-a-directory").write_bytes(b"now a file")
    back.make([(header("f", b"old"), b"old"), (header("was-a-directory/f", b"x"), b"x")])
    assert not back.made
    assert not back.failed
    assert (tmp_path / "f").read_bytes() == b"newer"
    assert sorted(os.listdir(tmp_path)) == ["f", "was-a-directory"]


def test_what_cannot_be_made_is_named_and_the_others_are_made(back, tmp_path):
    back.make([
        (header("x" * 300, b"1"), b"1"),
        (header("../outside", b"1"), b"1"),
        (header("short", b"four"), b"1"),
        (header("odd", kind="?"), b""),
        (header("bad", mode="rwx"), b""),
        ({"kind": "f"}, b""),
        (header("good", b"1"), b"1"),
    ])  # fmt: skip
    assert made(back) == ["good"]
    assert [path for path, _ in back.failed] == [
        "x" * 300, "../outside", "short", "odd", "bad", "None"
    ]  # fmt: skip
    assert os.listdir(tmp_path) == ["good"]


def test_a_large_file_appears_when_it_is_complete_and_zeros_are_holes(back, tmp_path):
    zeros, data = bytes(1 << 20), b"x" + bytes(99) + b"y" * 100_000
    content = zeros + data + zeros + b"end"
    about = header("big", content)
    file = back.begin(about)
    for start in range(0, len(content), 300_000):
        assert back.write(file, about, content[start : start + 300_000])
        assert not (tmp_path / "big").exists()
    back.finish(file, about)
    file.discard()
    assert (tmp_path / "big").read_bytes() == content
    assert (tmp_path / "big").stat().st_blocks * 512 < 500_000
    assert os.listdir(tmp_path) == ["big"]


def test_a_large_file_that_did_not_come_to_its_end_leaves_nothing(back, tmp_path):
    about = header("big", bytes(10))
    file = back.begin(about)
    back.write(file, about, b"12345")
    back.finish(file, about)
    file.discard()
    assert back.failed == [["big", "5 of 10 bytes came"]]
    assert os.listdir(tmp_path) == []


def test_more_directories_than_are_kept_open(back, tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    records = [(header(f"d{number % 50}/f{number}", b"1"), b"1") for number in range(200)]
    back.make(records)
    assert len(back.made) == 200
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_restore_that_starts_again_opens_the_directories_it_had_closed(back, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(0o555)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o711)
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "l").symlink_to("d")
    records = [(header(name, kind="d", mode=0o555), b"") for name in ("d", "open", "f", "l")]
    back.make([*records, (header("d/new", b"1"), b"1")])
    assert made(back) == ["d/new"]
    assert not back.failed
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o711
    back.make([(header("d", kind="m", mode=0o555), b"")])
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o555


def test_nothing_is_written_for_a_file_that_is_there(back, tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"newer")
    (tmp_path / "l").symlink_to("nowhere")
    monkeypatch.setattr(restoring, "Restored", lambda *_: pytest.fail("a temporary is created"))
    back.make([(header("f", b"old"), b"old"), (header("l", b"old"), b"old")])
    assert back.begin(header("f", bytes(10))) is None
    assert not back.made
    assert not back.failed


def test_a_file_that_is_written_to_as_soon_as_it_is_there_is_not_reported_as_it_was_kept(
    back, tmp_path, monkeypatch
):
    rename, contents = kernel.rename_new, {"longer": b"one+", "same-size": b"two"}

    def rename_and_write(source_directory, source, directory, name):
        rename(source_directory, source, directory, name)
        if name.decode() in contents:
            (tmp_path / name.decode()).write_bytes(contents[name.decode()])

    monkeypatch.setattr(kernel, "rename_new", rename_and_write)
    back.make([(header(name, b"one"), b"one") for name in (*contents, "left-alone")])
    assert made(back) == ["left-alone"]
    assert not back.failed
    assert {name: (tmp_path / name).read_bytes() for name in contents} == contents
