"""Directories that come down as tar streams: whatever a stream says, nothing is made outside."""

from __future__ import annotations

import errno
import io
import os
import tarfile

import pytest

from coditect import trees


def stream_of(*entries: tuple[str, bytes, str | bytes]) -> list[bytes]:
    """Return an archive in pieces; its entries have a name, a type, and what they hold or lead to."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o777
            if isinstance(content, str):
                info.linkname = content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    data = out.getvalue()
    return [data[at : at + 100] for at in range(0, len(data), 100)]


FILE, LINK, HARD, DIRECTORY = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


def test_nothing_leads_out_by_name_or_by_link(tmp_path):
    place, outside = tmp_path / "place", tmp_path / "outside"
    outside.mkdir()
    (place / "p").mkdir(parents=True)
    (place / "p" / "old").symlink_to(outside)
    (place / "file").symlink_to(outside / "victim")
    failed = trees.unpack(
        iter(
            stream_of(
                ("t/../up", FILE, b"x"),
                ("t//abs", FILE, b"x"),
                ("t/p/old/through", FILE, b"x"),
                ("t/absolute", LINK, "/etc/passwd"),
                ("t/p/q/x", LINK, "../.."),  # the directory itself: inside
                ("t/p/q/chained", LINK, "x/../outside/chained"),
                ("t/p/q/x/through", FILE, b"x"),
                ("t/hard", HARD, "t/p/old/secret"),
                ("t/fifo", tarfile.FIFOTYPE, ""),
                ("t/file", FILE, b"own"),
            )
        ),
        place,
    )
    assert [name for name, _ in failed] == [
        "../up", "/abs", "p/old/through", "absolute", "p/q/chained", "p/q/x/through", "hard", "fifo",
    ]  # fmt: skip
    assert list(outside.iterdir()) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["outside", "place"]
    assert not (place / "file").is_symlink()
    assert (place / "file").read_bytes() == b"own"
    assert (place / "p/q/x").resolve() == place


def test_one_that_cannot_be_made_does_not_end_the_rest(tmp_path, monkeypatch):
    (tmp_path / "in the way" / "full").mkdir(parents=True)
    entries = stream_of(
        ("t/in the way", FILE, b"x"),
        ("t/" + "n" * 300, FILE, b"x"),
        ("t/d", DIRECTORY, ""),
        ("t/d/one", FILE, b"1"),
        ("t/d/two", HARD, "t/d/one"),
        ("t/d/link", LINK, "../d/one"),
    )
    failed = trees.unpack(iter(entries), tmp_path)
    assert [name for name, _ in failed] == ["in the way", "n" * 300]
    assert (tmp_path / "d/two").read_bytes() == (tmp_path / "d/link").read_bytes() == b"1"
    assert (tmp_path / "d/one").stat().st_mode & 0o777 == 0o755

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trees.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        trees.unpack(iter(entries), tmp_path)
    assert not (tmp_path / "d/one").exists(), "in part"


def test_a_time_that_no_clock_shows_does_not_end_the_rest(tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, mtime in (("t/far", 1e30), ("t/near", 1.0)):
            info = tarfile.TarInfo(name)
            info.mtime = mtime
            archive.addfile(info, io.BytesIO())
    assert trees.unpack(iter([out.getvalue()]), tmp_path) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["far", "near"]
