"""The reserve below which workspaces' disks may not grow, and the end of one that does."""

from __future__ import annotations

import os
import threading

import pytest

from cluster.runtime.disks import reserve
from cluster.runtime.disks.reserve import DiskGuard, Room, brake, is_braked, pause, promised

GIB = 1 << 30


def test_what_is_written_and_not_on_the_disk_yet_is_not_free(tmp_path):
    assert Room(free=5, pending=3).left == 2
    room = reserve.measure(tmp_path)
    assert room.free > 0
    assert room.pending >= 0


def test_disks_stop_below_the_reserve_and_go_on_when_there_is_a_quarter_more():
    assert not is_braked(GIB, GIB, before=False)
    assert is_braked(GIB - 1, GIB, before=False)
    assert is_braked(GIB * 5 // 4 - 1, GIB, before=True)
    assert not is_braked(GIB * 5 // 4, GIB, before=True)


def test_the_nearer_the_reserve_the_sooner_is_the_next_look():
    assert pause(1000 * GIB, GIB) == 5.0
    assert pause(0, GIB) == pause(GIB, GIB) == 0.1
    assert pause(5 * GIB, GIB) == 1.0


@pytest.fixture
def system(tmp_path):
    """A /sys with two disks of this server, one of another, and one that has gone."""
    root = tmp_path / "sys"
    for name, backing, kept in (
        ("loop0", f"{tmp_path}/data/workspaces/w/disk-1", "4096"),
        ("loop1", f"{tmp_path}/data/workspaces/.drafts/#12 (deleted)", "4096"),
        ("loop2", "/elsewhere/disk", "77"),
        ("loop3", f"{tmp_path}/data/workspaces/v/disk-1", None),
    ):
        (root / "block" / name / "loop").mkdir(parents=True)
        (root / "block" / name / "loop" / "backing_file").write_text(f"{backing}\n")
        (root / "block" / name / "size").write_text("80000\n")  # of 512 bytes: 10,000 blocks
        if kept is not None:
            (root / "fs/ext4" / name).mkdir(parents=True)
            (root / "fs/ext4" / name / "reserved_clusters").write_text(kept)
    return root


def test_only_this_servers_disks_are_held_and_let_go(tmp_path, system):
    def kept():
        return [
            int((system / "fs/ext4" / name / "reserved_clusters").read_text())
            for name in ("loop0", "loop1", "loop2")
        ]

    root = tmp_path / "data" / "workspaces"
    assert brake(root, on=True, system=system) == 2
    assert kept() == [9999, 9999, 77]
    assert brake(root, on=False, system=system) == 2
    assert kept() == [200, 200, 77]


def test_who_writes_on_into_the_reserve_is_ended_and_nobody_else(tmp_path, monkeypatch):
    free, sizes, ended = [2 * GIB], [{}], []
    guard = DiskGuard(tmp_path, GIB, measure=lambda _: Room(free[0], 0))
    monkeypatch.setattr(DiskGuard, "_sizes", lambda _: sizes[0])
    monkeypatch.setattr(DiskGuard, "_end", lambda _, container_id: ended.append(container_id))
    monkeypatch.setattr(reserve, "brake", lambda *_, **__: 0)
    assert guard.look() == pause(2 * GIB, GIB)
    for left, growth in ((2, 0), (0.9, 50), (0.4, 50), (0.4, 0), (0.4, 50), (2, 50)):
        free[0] = int(left * GIB)
        sizes[0] = {"quiet": 10, "loud": sizes[0].get("loud", 0) + (growth << 20)}
        guard.look()
    # The first look below the half is what the second is compared with.
    assert ended == ["loud"]
    assert not guard.braked


def test_a_disk_that_cannot_be_looked_at_is_looked_at_again(tmp_path, monkeypatch):
    done, looks = threading.Event(), []

    def fail(_):
        looks.append(None)
        if len(looks) == 3:
            done.set()
        raise OSError("gone")

    monkeypatch.setattr(reserve, "_LONGEST", 0.0)
    DiskGuard(tmp_path, GIB, measure=fail).run(done)
    assert len(looks) == 3


def test_what_is_promised_is_the_sum_of_the_disks(tmp_path):
    for name in ("w-1", "w-2"):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "disk-x").open("wb") as image:
            image.truncate(1 << 20)
    size, allocated = promised(tmp_path)
    assert size == 2 << 20
    assert allocated <= 16384 or os.geteuid() != 0
