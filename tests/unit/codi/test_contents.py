"""What a file consists of."""

from __future__ import annotations

import random

from blake3 import blake3

from cluster.codi.agent import contents
from cluster.codi.agent.paths import Workspace


def cut(tmp_path, data: bytes) -> list[tuple[str, int]]:
    (tmp_path / "f").write_bytes(data)
    opened = contents.Opened(Workspace(str(tmp_path)), b"f")
    try:
        chunks = list(opened.chunks())
    finally:
        opened.close()
    offset = 0
    for name, size in chunks:
        assert blake3(data[offset : offset + size]).hexdigest() == name
        offset += size
    assert offset == len(data)
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
