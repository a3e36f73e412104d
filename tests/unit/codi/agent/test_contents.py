"""The content of a file, in chunks and holes."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from blake3 import blake3

from cluster.codi.agent.changes.routes import FeedRoutes
from cluster.codi.agent.files import contents
from cluster.codi.agent.files.paths import Workspace


def cut(tmp_path, data: bytes) -> list[tuple[bytes, int]]:
    (tmp_path / "f").write_bytes(data)
    opened = contents.Opened(Workspace(str(tmp_path)), b"f")
    try:
        holes = opened.holes()
        chunks = list(opened.cut(0, 1 << 40, holes, opened.factor(holes)))
        assert pieces_of(opened, holes, limit=1) == chunks
        assert pieces_of(opened, holes, limit=7 << 20) == chunks
    finally:
        opened.close()
    offset = 0
    for name, at, size in chunks:
        assert at == offset
        assert blake3(data[offset : offset + size]).digest() == name
        offset += size
    assert offset == len(data)
    return [(name, size) for name, _, size in chunks]


def pieces_of(opened: contents.Opened, holes, limit: int) -> list[tuple[bytes, int, int]]:
    """Cut a file piece by piece, as it is done over the network."""
    chunks: list[tuple[bytes, int, int]] = []
    while piece := list(
        opened.cut(sum(chunks[-1][1:]) if chunks else 0, limit, holes, opened.factor(holes))
    ):
        chunks += piece
    return chunks


def test_a_larger_file_has_larger_chunks(tmp_path, monkeypatch):
    data = random.Random(1).randbytes(40 << 20)
    few = len(cut(tmp_path, data))
    monkeypatch.setattr(contents, "LARGE_FILE", len(data) - 1)
    larger = cut(tmp_path, data)
    assert len(larger) < few / 2
    assert all(size <= contents.LARGEST_CHUNK for _, size in larger)
    assert all(size >= 1 << 20 for _, size in larger[:-1])


def test_what_comes_before_a_change_and_after_it_stays_the_same(tmp_path):
    data = random.Random(2).randbytes(30 << 20)
    before = cut(tmp_path, data)
    after = cut(tmp_path, data[: 15 << 20] + b"inserted" + data[15 << 20 :])
    assert len(set(before) - set(after)) <= 2


@pytest.mark.parametrize("largest", [400, 2])
def test_of_a_sparse_file_the_largest_holes_are_left_out(tmp_path, monkeypatch, largest):
    monkeypatch.setattr(contents, "MAX_HOLES", largest)
    parts = {0: 300 << 10, 8 << 20: 2 << 20, 32 << 20: 1 << 20}
    size = 100 << 20
    with (tmp_path / "f").open("wb") as file:
        for offset, length in parts.items():
            file.seek(offset)
            file.write(random.Random(offset).randbytes(length))
        file.truncate(size)
    opened = contents.Opened(Workspace(str(tmp_path)), b"f")
    try:
        holes = opened.holes()
        if len(holes) == 0:
            pytest.skip("the file system here knows no holes")
        chunks = list(opened.cut(0, 1 << 40, holes, opened.factor(holes)))
        assert pieces_of(opened, holes, limit=1 << 20) == chunks
        for name, at, length in chunks:
            assert blake3(opened.read(at, length)).digest() == name
    finally:
        opened.close()
    covered = sorted([*holes, *((at, length) for _, at, length in chunks)])
    assert [at for at, _ in covered] == [0, *(at + length for at, length in covered[:-1])]
    assert sum(covered[-1]) == size
    assert len(holes) == min(largest, 3)
    data = sum(length for _, _, length in chunks)
    assert data < 5 << 20 if largest > 2 else data < 12 << 20


def test_a_file_whose_place_a_directory_takes_before_it_is_opened_is_not_gone(
    tmp_path, monkeypatch
):
    (tmp_path / "f").touch()

    class Late(contents.Opened):
        def __init__(self, workspace: Workspace, path: bytes) -> None:
            (tmp_path / "f").unlink()
            (tmp_path / "f").mkdir()
            super().__init__(workspace, path)

    monkeypatch.setattr(contents, "Opened", Late)
    config = SimpleNamespace(workspace=str(tmp_path), excludes=())
    header, data = FeedRoutes(config, Workspace(str(tmp_path)), None)._read(b"f")
    assert (header["item"][:2], data) == (["f", "d"], b"")


def test_a_file_that_is_deleted_while_it_is_cut_is_let_go(tmp_path):
    size = 40 << 20
    (tmp_path / "f").write_bytes(random.Random(1).randbytes(size))
    opened = contents.Opened(Workspace(str(tmp_path)), b"f")
    try:
        chunks = opened.cut(0, size, [], 1)
        first = next(chunks)
        (tmp_path / "f").unlink()
        left = [first, *chunks]
        assert 0 < sum(length for _, _, length in left) <= 16 << 20  # no more than is read at once
    finally:
        opened.close()
