"""Directories in one piece, up and down, over HTTP: what arrives is durable, and what does not is named."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from pathlib import Path

import pytest

from coditect import Client, InvalidRequest


def fill(root: Path) -> None:
    (root / "deep/er").mkdir(parents=True)
    (root / "deep/er/data").write_bytes(bytes(range(256)) * 500)
    (root / "tool").write_text("#!/bin/sh\n")
    (root / "tool").chmod(0o755)
    (root / "link").symlink_to("deep/er/data")
    (root / os.fsdecode(b"\xff")).write_bytes(b"latin")


def described(root: Path) -> dict:
    return {
        path.relative_to(root): (
            path.lstat().st_mode,
            os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes(),
        )
        for path in root.rglob("*")
    }


@pytest.mark.parametrize("path", ["project", ""])
async def test_a_directory_goes_up_and_comes_down_as_it_is(rig, ada, session_id, tmp_path, path):
    source, back = tmp_path / "source", tmp_path / "back"
    fill(source)
    told: list[tuple[int, int]] = []
    done = await ada.upload_directory(
        session_id, source, path, progress=lambda *seen: told.append(seen)
    )
    assert (done.made, done.failed, done.path) == (6, (), path)
    assert told[-1][0] == 6
    prefix = f"{path}/" if path else ""
    (version, *_) = await ada.history(session_id, f"{prefix}deep/er/data")
    assert version.version <= done.version
    assert await ada.read_file(session_id, f"{prefix}tool", version=done.version) == b"#!/bin/sh\n"
    assert await ada.download_directory(session_id, path, back) == []
    assert described(back).items() >= described(source).items()


async def test_the_other_client_has_it_too_and_what_is_not_made_is_named(
    rig, ada, session_id, tmp_path
):
    fill(tmp_path / "source")
    (tmp_path / "source/out").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "source/pipe")

    def use():
        with Client(rig.url, access_token=ada.access_token) as client:
            return client.upload_directory(session_id, tmp_path / "source", "p")

    done = await asyncio.to_thread(use)
    assert {each.path for each in done.failed} == {"out", "pipe"}
    assert "out of the workspace" in " ".join(each.reason for each in done.failed)
    assert await ada.read_file(session_id, "p/link") == bytes(range(256)) * 500


async def test_what_is_no_archive_is_named_and_names_in_it_are_to_the_byte(rig, ada, session_id):
    with pytest.raises(InvalidRequest, match="no tar stream"):
        await ada.unpack(session_id, "x", b"no archive at all" * 100)
    with pytest.raises(InvalidRequest):
        await ada.unpack(session_id, "../x", b"")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("../up", os.fsdecode(b"/\xff")):
            archive.addfile(tarfile.TarInfo(name))
    done = await ada.unpack(session_id, "x", stream.getvalue())
    assert [each.path for each in done.failed] == ["../up", os.fsdecode(b"/\xff")]
