"""``PUT /archive/{path}``: what an archive has is made, and nothing in it leads out of its directory."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import tarfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors.base import CoditectError
from actors.core.errors.limits import TooManyRequests
from actors.core.errors.requests import InvalidArgument
from cluster.codi.agent.errors import AgentError
from cluster.codi.agent.files import temporary
from cluster.codi.agent.files.extracting import MAX_BYTES, Extraction, Refused, inner_path
from cluster.codi.agent.files.paths import Workspace
from cluster.codi.client import HttpCodiClient
from tests.support.codi_process import run_codi
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def codi(tmp_path_factory):
    with run_codi(tmp_path_factory.mktemp("codi"), tmp_path_factory.mktemp("stage")) as running:
        yield running


@pytest.fixture
async def client():
    async with HttpCodiClient() as made:
        yield made


def entry(name, data=b"", kind=tarfile.REGTYPE, link="", mode=0o644, **more):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size, info.mtime = kind, link, mode, len(data), 1e9
    for field, value in more.items():
        setattr(info, field, value)
    return info, data


def packed(*entries) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def in_parts(content, size=100_000):
    async def parts():
        for at in range(0, len(content), size):
            yield content[at : at + size]

    return parts()


@pytest.fixture
def unpack(tmp_path):
    """Unpack into ``in/`` of a workspace, without CODI round it."""
    root = tmp_path / "workspace"
    root.mkdir()

    def run(content, path=b"in"):
        extraction = Extraction(Workspace(str(root)), path, io.BytesIO(content).read)
        try:
            return extraction.run()
        finally:
            extraction.close()

    run.root = root
    return run


async def test_names_contents_modes_and_links_arrive_as_they_are(codi, client):
    large = os.urandom(3_000_001)
    content = packed(
        entry("src", kind=tarfile.DIRTYPE, mode=0o555),
        entry("src/run", b"#!/bin/sh\n", mode=0o755),
        entry("src/deep/large", large),
        entry("src/link", kind=tarfile.SYMTYPE, link="deep/large"),
        entry("src/same", kind=tarfile.LNKTYPE, link="src/deep/large"),
        entry("src/" + "n" * 200, b"long"),
        entry("src/grün", b"u"),
        entry(os.fsdecode(b"src/\xff-\xe9"), b"latin"),
    )
    for path, sent in (("a", content), ("b", gzip.compress(content))):
        answer = await client.put_archive(codi.route(), path, in_parts(sent))
        assert (answer["made"], answer["failed"]) == (8, [])
        src = codi.workspace / path / "src"
        assert (src / "deep/large").read_bytes() == large
        assert (src / "same").stat().st_ino == (src / "deep/large").stat().st_ino
        assert os.readlink(src / "link") == "deep/large"
        assert (src / "run").stat().st_mode & 0o777 == 0o755
        assert (src / "run").stat().st_mtime == 1e9
        assert src.stat().st_mode & 0o777 == 0o555
        assert (src / ("n" * 200)).read_bytes() == b"long"
        assert (src / os.fsdecode(b"\xff-\xe9")).read_bytes() == b"latin"


async def test_an_archive_of_a_directory_comes_back_as_it_went(codi, client):
    root = codi.workspace / "there"
    root.mkdir()
    for number in range(300):
        (root / f"d{number % 7}").mkdir(exist_ok=True)
        (root / f"d{number % 7}/f{number}").write_bytes(b"%d" % number)
    async with client.get_archive(codi.route(), "there") as answer:
        content = b"".join([part async for part in answer.content])
    answer = await client.put_archive(codi.route(), "back", in_parts(content))
    assert answer["failed"] == []
    back = {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    copied = codi.workspace / "back/there"
    assert {p.relative_to(copied): p.read_bytes() for p in copied.rglob("*") if p.is_file()} == back


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entry("../out", b"x"), '".."'),
        (entry("a/../../out", b"x"), '".."'),
        (entry("/out", b"x"), "absolute"),
        (entry("out", kind=tarfile.SYMTYPE, link="/etc"), "link out of the workspace"),
        (entry("out", kind=tarfile.SYMTYPE, link="../../x"), "link out of the workspace"),
        (entry("out", kind=tarfile.SYMTYPE, link="a/../../../x"), "link out of the workspace"),
        (entry("out", kind=tarfile.LNKTYPE, link="../kept"), '".."'),
        (entry("out", kind=tarfile.LNKTYPE, link="/etc/passwd"), "absolute"),
        (entry("out", kind=tarfile.LNKTYPE, link="nothing"), "No such file"),
        (entry("out", kind=tarfile.CHRTYPE), "neither a file"),
        (entry("out", kind=tarfile.BLKTYPE), "neither a file"),
        (entry("out", kind=tarfile.FIFOTYPE), "neither a file"),
        (entry("d/" * 200 + "out", b"x"), "deeper"),
        (entry("x" * 300, b"x"), "255 bytes"),
        (entry("", b"x"), "names the directory itself"),
        (entry(os.fsdecode(temporary.new_name()), b"x"), "on their way"),
    ],
)
def test_what_leads_elsewhere_is_named_and_the_rest_is_made(unpack, bad, reason):
    answer = unpack(packed(entry("before", b"1"), bad, entry("behind", b"2")))
    ((name, said),) = answer["failed"]
    assert name == bad[0].name.rstrip("/")
    assert reason in said
    assert sorted(os.listdir(unpack.root)) == ["in"]
    made = {path.name for path in (unpack.root / "in").rglob("*") if path.is_file()}
    assert made == {"before", "behind"}


def test_no_link_is_followed_on_the_way(unpack, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = unpack.root / "in"
    inside.mkdir()
    (inside / "way").symlink_to(outside)
    (inside / "file").symlink_to(outside / "target")
    answer = unpack(
        packed(
            entry("way/out", b"x"),
            entry("here", kind=tarfile.SYMTYPE, link="."),
            entry("here/through", b"x"),
            entry("file", b"in its place"),
        )
    )
    assert [name for name, _ in answer["failed"]] == ["way/out", "here/through"]
    assert list(outside.iterdir()) == []
    assert (inside / "file").read_bytes() == b"in its place"
    assert not (inside / "file").is_symlink()


def test_what_is_there_is_replaced_whole_and_a_directory_is_not(unpack):
    inside = unpack.root / "in"
    (inside / "d").mkdir(parents=True)
    (inside / "f").write_bytes(b"old")
    held = (inside / "f").open("rb")
    answer = unpack(packed(entry("f", b"new"), entry("d", b"x"), entry("f/below", b"x")))
    assert held.read() == b"old"
    assert (inside / "f").read_bytes() == b"new"
    assert {name for name, _ in answer["failed"]} == {"d", "f/below"}
    assert stat.S_ISDIR((inside / "d").stat().st_mode)


@pytest.mark.parametrize(
    "content",
    [
        b"this is no archive, " * 100,
        packed(entry("whole", b"1" * 3000))[:2000],
        gzip.compress(packed(entry("whole", os.urandom(3000))))[:1500],
        b"\x1f\x8b and no gzip" * 50,
    ],
)
def test_what_is_no_archive_or_breaks_off_is_an_error_and_leaves_nothing_half(unpack, content):
    with pytest.raises(AgentError, match="no tar stream") as refused:
        unpack(content)
    assert refused.value.code == "invalid_argument"
    assert list((unpack.root / "in").iterdir()) == []


def test_headers_that_say_much_of_themselves_take_no_memory(unpack):
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE):
        info = tarfile.TarInfo("bomb")
        info.type, info.size = kind, 1 << 33
        with pytest.raises(AgentError, match="too large"):
            unpack(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))


def test_an_entry_that_says_to_be_larger_than_anything_is_refused_before_it_is_read(unpack):
    info = tarfile.TarInfo("bomb")
    info.size = MAX_BYTES + 1
    with pytest.raises(AgentError, match="unpacked"):
        unpack(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def test_a_gzip_bomb_of_what_is_left_out_fills_nothing(unpack):
    squeezed = zlib.compressobj(9, wbits=31)
    info = tarfile.TarInfo("../bomb")
    info.size = 200 << 20
    sent = squeezed.compress(info.tobuf())
    for _ in range(200):
        sent += squeezed.compress(bytes(1 << 20))
    sent += squeezed.compress(bytes(1024)) + squeezed.flush()
    answer = unpack(sent)
    assert (answer["made"], len(answer["failed"])) == (0, 1)
    assert list((unpack.root / "in").iterdir()) == []


async def test_what_is_wrong_is_answered_and_codi_goes_on(codi, client):
    for path, content in (("../out", packed()), ("x", b"no archive")):
        with pytest.raises(InvalidArgument):
            await client.put_archive(codi.route(), path, in_parts(content))

    async def breaking_off():
        yield packed(entry("f", bytes(1 << 20)))[:70_000]
        raise OSError("the caller goes")

    with pytest.raises((CoditectError, OSError)):
        await client.put_archive(codi.route(), "broken", breaking_off())

    async def again():
        with contextlib.suppress(
            TooManyRequests
        ):  # the one that broke off is let go of a moment later
            content = in_parts(packed(entry("f", b"1")))
            return (await client.put_archive(codi.route(), "broken", content))["made"]

    assert await wait_until(again, pause_seconds=0.05) == 1
    assert [path.name for path in (codi.workspace / "broken").iterdir()] == ["f"]


@given(st.binary(max_size=40))
def test_no_name_leads_out(name):
    try:
        inner = inner_path(name)
    except Refused:
        return
    parts = inner.split(b"/") if inner else []
    assert not {b"..", b".", b""} & set(parts)
    assert b"\0" not in inner
    assert [part for part in name.split(b"/") if part not in {b"", b"."}] == parts


@pytest.mark.parametrize("at", [1024, 1100, 1536])
def test_an_archive_that_is_cut_off_is_refused_and_not_taken_for_whole(unpack, at):
    content = packed(*(entry(name, b"x" * 100) for name in "abc"))
    with pytest.raises(AgentError, match="breaks off"):
        unpack(content[:at])


def test_a_header_that_is_damaged_is_not_the_end(unpack):
    content = bytearray(packed(*(entry(name, b"x" * 100) for name in "abc")))
    content[1024 + 3] ^= 1
    with pytest.raises(AgentError, match="breaks off"):
        unpack(bytes(content))


def test_lists_of_holes_are_refused(unpack):
    fields = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f"}
    content = packed(entry("f", b"100000\n" + b"0\n" * 100_000, pax_headers=fields))
    with pytest.raises(AgentError, match="sparse"):
        unpack(content)
    with pytest.raises(AgentError, match="sparse"):
        unpack(packed(entry("f", kind=tarfile.GNUTYPE_SPARSE)))
