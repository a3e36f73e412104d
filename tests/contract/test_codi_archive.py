"""A directory as a tar stream: its members, the report on the rest, and its early end."""

import contextlib
import io
import os
import tarfile
from pathlib import Path

import httpx
import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.limits import TooManyRequests
from actors.core.errors.requests import InvalidArgument, NotFound
from cluster.codi.agent.files import temporary
from cluster.codi.agent.files.archive import NOT_IN_THIS_ARCHIVE, Archive, BrokenOffError
from cluster.codi.agent.files.paths import Workspace
from cluster.codi.bundle import Limits
from cluster.codi.client import HttpCodiClient
from tests.support.codi_process import run_codi
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


@pytest.fixture
def codi(tmp_path, stage):
    with run_codi(tmp_path, stage, Limits()) as running:
        yield running


@pytest.fixture
async def client():
    async with HttpCodiClient() as made:
        yield made


async def read(client, codi, path):
    async with client.get_archive(codi.route(), path) as answer:
        assert answer.headers["content-type"] == "application/x-tar"
        content = b"".join([part async for part in answer.content])
    return tarfile.open(fileobj=io.BytesIO(content), errors="surrogateescape")


def fill(root):
    root.joinpath("src/deep").mkdir(parents=True)
    root.joinpath("src/deep/large").write_bytes(os.urandom(700_001))
    root.joinpath("src/empty").write_bytes(b"")
    root.joinpath("src/run").write_bytes(b"#!/bin/sh\n")
    root.joinpath("src/run").chmod(0o755)
    root.joinpath("src/link").symlink_to("deep/large")
    root.joinpath("src", "n" * 200).write_bytes(b"long")
    root.joinpath("src", os.fsdecode(b"\xff-\xe9")).write_bytes(b"latin")
    root.joinpath("src", os.fsdecode(temporary.new_name())).write_bytes(b"on its way")
    root.joinpath("src/.codi-1234").write_bytes(b"a person's own")
    root.joinpath("beside").write_bytes(b"not in src")


async def test_an_archive_holds_names_contents_modes_and_links(codi, client):
    fill(codi.workspace)
    found = await read(client, codi, "src")
    names = {"src", "src/deep", "src/deep/large", "src/empty", "src/run", "src/link"}
    names.add("src/.codi-1234")
    assert set(found.getnames()) == names | {f"src/{'n' * 200}", os.fsdecode(b"src/\xff-\xe9")}
    large = codi.workspace.joinpath("src/deep/large").read_bytes()
    assert found.extractfile("src/deep/large").read() == large
    assert found.extractfile(os.fsdecode(b"src/\xff-\xe9")).read() == b"latin"
    assert found.getmember("src/run").mode == 0o755
    assert found.getmember("src/link").linkname == "deep/large"
    assert all(member.uid == 0 and not member.uname for member in found)


async def test_the_whole_workspace_has_a_name_of_its_own(codi, client):
    fill(codi.workspace)
    found = await read(client, codi, "")
    assert {"workspace", "workspace/beside", "workspace/src/run"} <= set(found.getnames())


async def test_what_cannot_be_put_in_is_listed_with_its_reason(codi, client):
    fill(codi.workspace)
    os.mkfifo(codi.workspace / "src" / "pipe")
    found = await read(client, codi, "src")
    text = found.extractfile(f"src/{NOT_IN_THIS_ARCHIVE}").read().decode()
    assert text == "'src/pipe': neither a file nor a directory nor a link\n".replace("src/", "")


async def test_only_a_directory_of_the_workspace_can_be_had(codi, client):
    fill(codi.workspace)
    codi.workspace.joinpath("out").symlink_to("/etc")
    for path, error in (
        ("none", NotFound),
        ("beside", InvalidArgument),
        ("..", InvalidArgument),
        ("out", InvalidArgument),
    ):
        with pytest.raises(error):
            await read(client, codi, path)


async def test_directories_deeper_than_a_path_can_be_are_in_it(tmp_path):
    deep = tmp_path / "deep"
    deep.mkdir()
    here = os.open(deep, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=here)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    archive = Archive(Workspace(str(tmp_path)), b"deep")
    content = b"".join(iter(archive.next, b""))
    with tarfile.open(fileobj=io.BytesIO(content)) as found:
        assert found.getnames()[-1] == "deep" + 30 * f"/{'d' * 200}"


def test_a_file_that_becomes_shorter_breaks_the_stream_off(tmp_path):
    tmp_path.joinpath("log").write_bytes(bytes(2 << 20))
    archive = Archive(Workspace(str(tmp_path)), b".")
    assert archive.next()
    os.truncate(tmp_path / "log", 10)
    with pytest.raises(BrokenOffError):
        for _ in range(100):
            archive.next()
    archive.close()


async def test_an_archive_ends_with_its_reader_and_only_two_are_sent_at_once(codi, client):
    with codi.workspace.joinpath("huge").open("wb") as huge:
        huge.truncate(64 << 30)  # a hole: as long as nobody waits for its end it costs nothing

    async def reading():
        count = 0
        for place in Path(f"/proc/{codi.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                count += os.path.basename(os.readlink(place)) == "huge"
        return count

    streams = [client.get_archive(codi.route(), "") for _ in range(2)]
    for stream in streams:
        answer = await stream.__aenter__()
        assert await anext(answer.content)
    with pytest.raises(TooManyRequests):
        await read(client, codi, "")
    assert await reading() == 2
    for stream in streams:
        await stream.__aexit__(None, None, None)
    await wait_until(reading, lambda count: count == 0)
    async with client.get_archive(codi.route(), "") as answer:
        assert await anext(answer.content)


async def test_a_stream_that_breaks_off_is_an_error_and_not_a_shorter_archive(codi, client):
    with codi.workspace.joinpath("huge").open("wb") as huge:
        huge.truncate(64 << 30)
    with pytest.raises((Unavailable, httpx.HTTPError)):
        async with client.get_archive(codi.route(), "") as answer:
            await anext(answer.content)
            os.truncate(codi.workspace / "huge", 1)
            async for _ in answer.content:
                continue
