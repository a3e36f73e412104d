"""Directories are removed however deep they are, and nothing beside them."""

from __future__ import annotations

import errno
import os

import pytest

from cluster.codi.agent.files.paths import Workspace
from cluster.codi.agent.files.removing import remove_tree

LEVELS = 5000


@pytest.fixture
def place(tmp_path):
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def dig(directory, levels):
    """Make directories in one another, further down than a path can name; return the lowest, open."""
    current = os.dup(directory)
    for _ in range(levels):
        os.mkdir("d", dir_fd=current)
        following = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
        os.close(current)
        current = following
    return current


def test_a_directory_of_five_thousand_levels_is_removed(place, tmp_path):
    lowest = dig(place, LEVELS)
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=lowest))
    os.close(lowest)
    before = len(os.listdir("/proc/self/fd"))
    remove_tree(place, b"d")
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_lies_side_by_side_is_removed_and_links_are_not_followed(place, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    for number in range(50):
        inner = tmp_path / "d" / f"a{number}" / "b"
        inner.mkdir(parents=True)
        (inner / "file").write_text("x")
        (inner / "link").symlink_to(tmp_path / "kept")
    os.mkfifo(tmp_path / "d" / "pipe")
    remove_tree(place, b"d")
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").read_text() == "kept"


def test_a_link_to_a_directory_is_no_directory(place, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    with pytest.raises(NotADirectoryError):
        remove_tree(place, b"link")
    assert (tmp_path / "kept").is_dir()


def test_a_directory_that_moves_away_does_not_take_the_removal_along(place, tmp_path, monkeypatch):
    """Else ``..`` would lead to what nobody asked to remove."""
    (tmp_path / "d" / "e" / "f").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f" / "file").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("kept")
    real = os.unlink

    def moving(name, **where):
        real(name, **where)
        os.rename(tmp_path / "d" / "e" / "f", tmp_path / "elsewhere" / "f")

    monkeypatch.setattr(os, "unlink", moving)
    with pytest.raises(OSError, match=rf"Errno {errno.EBUSY}\b"):
        remove_tree(place, b"d")
    assert (tmp_path / "elsewhere" / "kept").read_text() == "kept"


class TestDeepPaths:
    @pytest.fixture
    def workspace(self, place, tmp_path):
        os.close(dig(place, LEVELS))
        yield Workspace(str(tmp_path))
        remove_tree(place, b"d")

    deep = b"/".join([b"d"] * LEVELS)

    def test_a_path_longer_than_the_kernel_takes_is_opened(self, workspace):
        directory, name = workspace.parent(self.deep + b"/file")
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=directory))
        assert workspace.place_of(directory, name) == self.deep + b"/file"
        os.close(directory)
        os.close(workspace.open(self.deep + b"/file", os.O_RDONLY))
        with pytest.raises(FileNotFoundError):
            workspace.open(self.deep + b"/none", os.O_RDONLY)

    def test_directories_are_made_down_there(self, workspace):
        os.close(workspace.make_directories(self.deep + b"/x/y"))
        os.close(workspace.open(self.deep + b"/x/y", os.O_PATH | os.O_DIRECTORY))

    def test_links_lead_no_further_out_than_elsewhere(self, workspace, tmp_path):
        directory, name = workspace.parent(self.deep + b"/link")
        os.symlink("/etc", name, dir_fd=directory)
        os.close(directory)
        with pytest.raises(OSError, match=rf"Errno {errno.EXDEV}\b"):
            workspace.open(self.deep + b"/link/passwd", os.O_RDONLY)
