"""CODI's answers to every call, and to everything that a caller can get wrong."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from actors.core.errors.access import PermissionDenied
from actors.core.errors.base import DeadlineExceeded, Unavailable
from actors.core.errors.limits import TooManyRequests, WorkspaceFull
from actors.core.errors.requests import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PayloadTooLarge,
    PreconditionFailed,
)
from actors.core.errors.sessions import Fenced
from cluster.codi.agent.files import temporary
from cluster.codi.bundle import Limits
from cluster.codi.client import HttpCodiClient
from cluster.codi.control import CodiControl
from tests.support.codi_process import SECRET, Codi, health_of, run_codi
from tests.support.journal_keeper import JournalKeeper, KeptTerminal, keeping
from tests.support.waiting import wait_until

LIMITS = Limits(max_terminals=3, max_file=1 << 20, exec_output=10_000, exec_timeout=120.0)
LIMIT_SECONDS = 60.0


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


@pytest.fixture
def codi(tmp_path, stage):
    with run_codi(tmp_path, stage, LIMITS) as running:
        yield running


@pytest.fixture
async def keeper(codi):
    async with keeping(codi.handle()) as made:
        yield made


@pytest.fixture
async def client():
    async with HttpCodiClient() as made:
        yield made


@pytest.fixture
async def http(codi):
    async with httpx.AsyncClient(
        base_url=f"http://{codi.address}", headers=codi.headers, trust_env=False, timeout=60
    ) as made:
        yield made


async def read_until(socket, pattern, seen=b""):
    """Return the output up to where ``pattern`` is in it, and the text frames that came between."""
    frames = []
    async with asyncio.timeout(LIMIT_SECONDS):
        while pattern not in seen:
            message = await socket.recv()
            if isinstance(message, bytes):
                seen += message
            else:
                frames.append(json.loads(message))
    return seen, frames


async def read_frame(socket, kind):
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            message = await socket.recv()
            if isinstance(message, str) and json.loads(message)["type"] == kind:
                return json.loads(message)


async def close_code(socket):
    async with asyncio.timeout(LIMIT_SECONDS):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code


async def eventually(condition):
    async def probe():
        return condition()

    await wait_until(probe, timeout_seconds=LIMIT_SECONDS, pause_seconds=0.02)


async def running(client, route, command, count=1):
    """Wait until so many processes run that command; for a count of 0 until none does any more."""

    async def probe():
        found = sum(command in one["command"] for one in await client.processes(route))
        return found >= count if count else not found

    await wait_until(probe, timeout_seconds=LIMIT_SECONDS, pause_seconds=0.02)


def request_as_it_is(codi, method, target):
    """Send a target that no URL library would; return the status and the error code."""
    link = HTTPConnection("127.0.0.1", codi.port, timeout=LIMIT_SECONDS)
    with contextlib.closing(link):
        link.putrequest(method, target)
        for name, value in {**codi.headers, "content-length": "0"}.items():
            link.putheader(name, value)
        link.endheaders()
        response = link.getresponse()
        return response.status, json.loads(response.read())["code"]


class TestWhoMayAsk:
    async def test_health_needs_only_the_secret(self, codi):
        health = await health_of(codi.handle())
        assert health["status"] == "ok"
        assert health["epoch"] == 1
        assert health["session_id"] is None
        assert health["processes"] >= 1

    @pytest.mark.parametrize("secret", [None, "", "wrong", "ü"])
    @pytest.mark.parametrize("path", ["/health", "/terminals", "/files/x"])
    async def test_a_wrong_secret_is_refused(self, codi, secret, path):
        headers = dict(codi.headers)
        del headers["x-codi-secret"]
        if secret is not None:
            headers["x-codi-secret"] = secret.encode("latin-1")
        async with httpx.AsyncClient(trust_env=False) as http:
            response = await http.get(f"http://{codi.address}{path}", headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, "unauthorized")

    async def test_the_first_session_binds_and_another_is_refused(self, codi, client):
        await client.terminals(codi.route())
        other = codi.route().model_copy(update={"session_id": "s-2"})
        with pytest.raises(Fenced):
            await client.terminals(other)

    async def test_an_older_epoch_is_fenced_and_a_newer_one_taken_over(self, codi, client):
        control = CodiControl()
        await control.raise_epoch(codi.route(epoch=5))
        with pytest.raises(Fenced) as refused:
            await client.tree(codi.route(epoch=4), "")
        assert (refused.value.epoch, refused.value.current) == (4, 5)
        with pytest.raises(Fenced):
            await control.raise_epoch(codi.route(epoch=4))
        await client.tree(codi.route(epoch=7), "")
        with pytest.raises(Fenced):
            await client.connect_terminal(codi.route(epoch=6), "t", {"create": "1"})
        assert (await health_of(codi.handle()))["epoch"] == 7

    @pytest.mark.parametrize("epoch", ["", "-1", "x", "1.5", "9" * 400, "9007199254740992"])
    async def test_an_epoch_that_is_no_number_changes_nothing(self, codi, http, epoch):
        response = await http.get("/terminals", headers={"x-codi-epoch": epoch})
        assert response.status_code == 400
        assert (await health_of(codi.handle()))["epoch"] == 1

    async def test_programs_cannot_read_the_secret(self, codi, client):
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        pid = codi.process.pid
        script = f"cat /proc/{pid}/environ /proc/{pid}/mem /proc/{pid}/maps; ls -l /proc/{pid}/fd"
        answer = await client.exec(codi.route(), ["sh", "-c", script])
        assert answer["stdout"] == ""

    async def test_programs_inherit_neither_descriptors_nor_the_secret(self, codi, client):
        answer = await client.exec(codi.route(), ["sh", "-c", "ls /proc/self/fd; env"])
        assert SECRET not in answer["stdout"]
        assert {line for line in answer["stdout"].split("\n") if line.isdigit()} <= set("0123")

    async def test_the_process_is_closed_to_others(self, codi, client):
        await client.tree(codi.route(), "")  # everything is loaded now
        assert os.stat(f"/proc/{codi.process.pid}/environ").st_uid == 0
        assert SECRET.encode() not in Path(f"/proc/{codi.process.pid}/cmdline").read_bytes()


class TestRequests:
    @pytest.mark.parametrize(
        "raw",
        [
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /health HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
            b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
            b"POST /exec HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ],
    )
    async def test_what_is_no_http_is_refused_and_others_are_served(self, codi, raw):
        def speak():
            with socket.create_connection(("127.0.0.1", codi.port), timeout=LIMIT_SECONDS) as link:
                link.sendall(raw)
                link.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    return link.recv(4096)
            return b""

        answer = await asyncio.to_thread(speak)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        assert (await health_of(codi.handle()))["status"] == "ok"

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/", 404),
            ("GET", "/nothing", 404),
            ("POST", "/tree/", 405),
            ("DELETE", "/terminals/none", 404),
            ("PATCH", "/files/x", 405),
        ],
    )
    async def test_unknown_calls_are_refused(self, http, method, path, status):
        response = await http.request(method, path)
        assert response.status_code == status
        assert set(response.json()) == {"code", "detail"}

    @pytest.mark.parametrize(
        "content", [b"{", b"[]", b"1", b"\xff\xfe", b"[" * 200_000, b'{"a": ' * 1000]
    )
    async def test_a_body_that_is_no_json_object_is_refused(self, http, content):
        response = await http.post("/exec", content=content)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")

    async def test_a_body_that_is_too_large_is_refused(self, http):
        response = await http.post("/exec", content=b" " * (3 << 20))
        assert response.status_code == 413
        assert (await http.get("/terminals")).status_code == 200

    async def test_many_requests_share_a_connection(self, codi):
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(headers=codi.headers, limits=limits, trust_env=False) as http:
            for number in range(20):
                target = f"http://{codi.address}/files/{number}"
                assert (await http.put(target, content=b"x" * number)).status_code == 200
                assert (await http.get(target)).content == b"x" * number


class TestFiles:
    @pytest.mark.parametrize(
        "name",
        [
            "plain.txt",
            "a name with spaces",
            "new\nline",
            "ünï-中文-🙂",
            "percent%2Fsign",
            "question?hash#",
            "deep/er/and/deeper",
            "-rf",
            "'\"`$(id)",
        ],
    )
    async def test_a_file_comes_back_as_it_was_saved(self, codi, client, name):
        content = os.urandom(300_000)
        saved = await client.put_file(codi.route(), name, content)
        assert (saved["path"], saved["size"]) == (name, len(content))
        assert codi.workspace.joinpath(name).read_bytes() == content
        async with client.get_file(codi.route(), name) as file:
            assert b"".join([part async for part in file.content]) == content
            assert file.headers["etag"] == saved["etag"]
        await client.delete(codi.route(), name)
        assert not codi.workspace.joinpath(name).exists()

    @pytest.mark.parametrize(
        "path",
        [
            "../escape",
            "a/../../escape",
            "a/..",
            "..",
            "%2e%2e/escape",
            "a/%2E%2E/%2E%2E/escape",
            "/etc/passwd",
            "%2Fetc/passwd",
            "nul%00byte",
            "x" * 5000,
            "x/" * 10_000,
            "y" * 300,
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    async def test_a_path_that_leaves_the_workspace_is_refused(self, codi, method, path):
        codi.workspace.joinpath("a").mkdir()
        answer = await asyncio.to_thread(request_as_it_is, codi, method, f"/files/{path}")
        assert answer == (400, "invalid_path")
        assert not codi.workspace.parent.joinpath("escape").exists()

    @pytest.mark.parametrize("path", ["../terminals", "..", "a/../../processes", "./../health"])
    async def test_a_path_never_becomes_another_call(self, codi, client, path):
        with pytest.raises(InvalidArgument):
            async with client.get_file(codi.route(), path):
                pass
        with pytest.raises(InvalidArgument):
            await client.delete(codi.route(), path)
        with pytest.raises(InvalidArgument):
            await client.tree(codi.route(), path)

    async def test_links_out_of_the_workspace_are_not_followed(self, codi, client):
        outside = codi.workspace.parent / "outside"
        outside.mkdir()
        outside.joinpath("secret").write_text("secret")
        codi.workspace.joinpath("absolute").symlink_to(outside)
        codi.workspace.joinpath("relative").symlink_to("../outside")
        codi.workspace.joinpath("file").symlink_to(outside / "secret")
        codi.workspace.joinpath("dangling").symlink_to("/nowhere/at/all")
        codi.workspace.joinpath("proc").symlink_to(f"/proc/{codi.process.pid}/root")
        for path in ("absolute/secret", "relative/secret", "file", "proc/etc/passwd", "dangling"):
            with pytest.raises(InvalidArgument):
                async with client.get_file(codi.route(), path):
                    pass
            with pytest.raises(InvalidArgument):
                await client.put_file(codi.route(), path, b"overwritten")
        for path in ("absolute", "relative"):
            with pytest.raises(InvalidArgument):
                await client.tree(codi.route(), path)
            with pytest.raises(InvalidArgument):
                await client.make_directory(codi.route(), f"{path}/new")
        await client.delete(codi.route(), "absolute", recursive=True)
        assert outside.joinpath("secret").read_text() == "secret"
        assert list(outside.iterdir()) == [outside / "secret"]

    async def test_links_within_the_workspace_are_followed(self, codi, client):
        codi.workspace.joinpath("real").mkdir()
        codi.workspace.joinpath("link").symlink_to("real")
        codi.workspace.joinpath("real/file").write_text("before")
        codi.workspace.joinpath("real/alias").symlink_to("file")
        await client.put_file(codi.route(), "link/alias", b"after")
        assert codi.workspace.joinpath("real/file").read_text() == "after"
        assert codi.workspace.joinpath("real/alias").is_symlink()

    async def test_saving_needs_the_version_that_was_read(self, codi, client):
        first = await client.put_file(codi.route(), "f", b"one", if_none_match="*")
        with pytest.raises(PreconditionFailed):
            await client.put_file(codi.route(), "f", b"two", if_none_match="*")
        second = await client.put_file(codi.route(), "f", b"two", if_match=first["etag"])
        assert second["etag"] != first["etag"]
        with pytest.raises(PreconditionFailed) as refused:
            await client.put_file(codi.route(), "f", b"six", if_match=first["etag"])
        assert refused.value.actual == second["etag"]
        with pytest.raises(PreconditionFailed):
            await client.put_file(codi.route(), "absent", b"", if_match="*")
        with pytest.raises(PreconditionFailed):
            await client.delete(codi.route(), "f", if_match=first["etag"])
        assert codi.workspace.joinpath("f").read_bytes() == b"two"
        assert [path.name for path in codi.workspace.iterdir()] == ["f"]

    async def test_of_many_writers_with_one_version_one_wins(self, codi, client):
        etag = (await client.put_file(codi.route(), "f", b"start"))["etag"]
        outcomes = await asyncio.gather(
            *(
                client.put_file(codi.route(), "f", b"%d" % number, if_match=etag)
                for number in range(8)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(outcome, dict) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, PreconditionFailed) for outcome in outcomes) == 7

    async def test_a_file_keeps_its_mode(self, codi, client):
        script = codi.workspace / "run.sh"
        script.write_text("old")
        script.chmod(0o751)
        await client.put_file(codi.route(), "run.sh", b"new")
        assert stat.S_IMODE(script.stat().st_mode) == 0o751

    @pytest.mark.parametrize(
        ("header", "status", "expected"),
        [
            ("bytes=0-3", 206, b"0123"),
            ("bytes=4-", 206, b"456789"),
            ("bytes=-3", 206, b"789"),
            ("bytes=-100", 206, b"0123456789"),
            ("bytes=8-100", 206, b"89"),
            ("bytes=10-", 416, None),
            ("bytes=-0", 416, None),
            ("bytes=5-2", 200, b"0123456789"),
            ("bytes=0-1,4-5", 200, b"0123456789"),
            ("lines=1-2", 200, b"0123456789"),
            ("bytes=" + "9" * 400 + "-", 416, None),
        ],
    )
    async def test_ranges(self, codi, http, header, status, expected):
        codi.workspace.joinpath("digits").write_bytes(b"0123456789")
        response = await http.get("/files/digits", headers={"range": header})
        assert response.status_code == status
        if expected is not None:
            assert response.content == expected

    async def test_an_unchanged_file_is_not_sent_again(self, codi, client):
        etag = (await client.put_file(codi.route(), "f", b"x"))["etag"]
        async with client.get_file(codi.route(), "f", {"if-none-match": etag}) as file:
            assert file.status == 304
            assert [part async for part in file.content] == []

    async def test_a_save_in_place_that_was_cut_short_is_finished_at_the_next_start(
        self, tmp_path, stage, client
    ):
        place = tmp_path / "workspace"
        place.mkdir()
        (place / "f").write_bytes(b"half of what it bec")
        inode = (place / "f").stat().st_ino
        header = json.dumps({"path": "f", "inode": inode, "size": 15}).encode()
        trailer = len(header).to_bytes(4, "big") + b"codi-into-1\n"
        (place / temporary.new_name().decode()).write_bytes(b"what it becomes" + header + trailer)
        with run_codi(tmp_path, stage, LIMITS) as restarted:
            async with client.get_file(restarted.route(), "f") as file:
                assert b"".join([part async for part in file.content]) == b"what it becomes"
        assert [each.name for each in place.iterdir()] == ["f"]

    async def test_a_workspace_that_takes_no_new_names_lets_its_files_be_saved(self, codi, client):
        place = codi.workspace
        (place / "d").mkdir()
        for name in ("f", "protected", "d/linked"):
            (place / name).write_bytes(b"before")
        os.link(place / "d/linked", place / "other")
        (place / "protected").chmod(0o444)
        inode = (place / "f").stat().st_ino
        place.chmod(0o555)
        names = sorted(place.rglob("*"))
        for name, content in (("f", b"longer than before"), ("f", b"short"), ("d/linked", b"both")):
            saved = await client.put_file(codi.route(), name, content)
            assert (place / name).read_bytes() == content
            async with client.get_file(codi.route(), name) as file:
                assert file.headers["etag"] == saved["etag"]
        assert (place / "other").read_bytes() == b"both"
        assert (place / "f").stat().st_ino == inode
        for name in ("new", "new/new", "protected"):
            with pytest.raises(PermissionDenied):
                await client.put_file(codi.route(), name, b"x")
        with pytest.raises(PreconditionFailed):
            await client.put_file(codi.route(), "f", b"x", if_match='"other"')
        assert sorted(place.rglob("*")) == names
        assert (place / "f").read_bytes() == b"short"

    async def test_a_workspace_without_inodes_lets_its_files_be_saved(
        self, tmp_path, stage, client
    ):
        place = tmp_path / "workspace"
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=6", "tmpfs", str(place)]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("needs root to mount a small disk")
        try:
            for number in range(5):
                (place / f"f{number}").write_bytes(b"before")
            with run_codi(tmp_path, stage, LIMITS) as codi:
                await client.put_file(codi.route(), "f0", b"after")
                with pytest.raises(WorkspaceFull):
                    await client.put_file(codi.route(), "new", b"x")
                assert (place / "f0").read_bytes() == b"after"
                assert len(list(place.iterdir())) == 5
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)

    async def test_a_file_that_is_too_large_leaves_nothing(self, codi, client):
        async def endless():
            for _ in range(64):
                yield b"x" * 65536

        for content, length in ((b"x" * ((1 << 20) + 1), None), (endless(), None)):
            with pytest.raises((PayloadTooLarge, Unavailable)):
                await client.put_file(codi.route(), "big/file", content, length=length)
        assert list(codi.workspace.rglob("*")) in ([], [codi.workspace / "big"])
        await client.put_file(codi.route(), "limit", b"x" * (1 << 20))

    async def test_an_upload_that_breaks_off_leaves_nothing(self, codi):
        head = "".join(f"{name}: {value}\r\n" for name, value in codi.headers.items())
        request = f"PUT /files/f HTTP/1.1\r\nhost: x\r\n{head}content-length: 1000\r\n\r\nbegin"
        _, writer = await asyncio.open_connection("127.0.0.1", codi.port)
        writer.write(request.encode())
        await eventually(lambda: list(codi.workspace.iterdir()))
        writer.close()
        await eventually(lambda: not list(codi.workspace.iterdir()))

    async def test_what_is_no_regular_file_is_refused_at_once(self, codi, client):
        os.mkfifo(codi.workspace / "pipe")
        codi.workspace.joinpath("directory").mkdir()
        for name in ("pipe", "directory"):
            with pytest.raises(InvalidArgument):
                async with client.get_file(codi.route(), name):
                    pass
            with pytest.raises(InvalidArgument):
                await client.put_file(codi.route(), name, b"x")
        with pytest.raises(InvalidArgument):
            await client.put_file(codi.route(), "", b"x")

    async def test_directories_are_listed_with_their_entries(self, codi, client):
        codi.workspace.joinpath("sub").mkdir()
        codi.workspace.joinpath("b file").write_text("four")
        codi.workspace.joinpath("link").symlink_to("/anywhere")
        os.mkfifo(codi.workspace / "pipe")
        os.close(os.open(os.fsencode(codi.workspace) + b"/bad\xff%name", os.O_CREAT))
        listing = await client.tree(codi.route(), "")
        kinds = {entry["name"]: entry["type"] for entry in listing["entries"]}
        assert kinds == {
            "sub": "directory",
            "b file": "file",
            "link": "link",
            "pipe": "other",
            "bad\udcff%name": "file",
        }
        by_name = {entry["name"]: entry for entry in listing["entries"]}
        assert by_name["b file"]["size"] == 4
        assert by_name["link"]["target"] == "/anywhere"
        assert by_name["bad\udcff%name"]["encoded"] == "bad%FF%25name"
        assert not listing["truncated"]
        async with httpx.AsyncClient(headers=codi.headers, trust_env=False) as http:
            answer = await http.get(f"http://{codi.address}/files/bad%FF%25name")
        assert answer.status_code == 200

    async def test_a_directory_with_very_many_entries_is_cut(self, codi, client):
        directory = codi.workspace / "many"
        directory.mkdir()
        for number in range(10_050):
            os.close(os.open(directory / str(number), os.O_CREAT))
        listing = await client.tree(codi.route(), "many")
        assert (len(listing["entries"]), listing["truncated"]) == (10_000, True)

    async def test_moving_and_removing(self, codi, client):
        route = codi.route()
        await client.put_file(route, "a", b"a")
        await client.put_file(route, "b", b"b")
        with pytest.raises(AlreadyExists):
            await client.move(route, "a", "b")
        await client.move(route, "a", "b", overwrite=True)
        assert codi.workspace.joinpath("b").read_bytes() == b"a"
        assert await client.make_directory(route, "d/e/f")
        assert not await client.make_directory(route, "d/e/f")
        await client.move(route, "b", "d/e/b")
        with pytest.raises(InvalidArgument):
            await client.move(route, "d", "d/e/d")
        with pytest.raises(InvalidArgument):
            await client.move(route, "d/e/b", "../b")
        with pytest.raises(InvalidArgument):
            await client.delete(route, "d")
        await client.delete(route, "d", recursive=True)
        for path in ("d", "none/at/all"):
            with pytest.raises(NotFound):
                await client.delete(route, path)
        with pytest.raises(InvalidArgument):
            await client.delete(route, "", recursive=True)
        assert list(codi.workspace.iterdir()) == []


class TestPrograms:
    async def test_a_program_runs_to_its_end(self, codi, client):
        script = "cat; echo err >&2; echo $GREETING; pwd; exit 7"
        codi.workspace.joinpath("sub").mkdir()
        answer = await client.exec(
            codi.route(),
            ["sh", "-c", script],
            cwd="sub",
            env={"GREETING": "hello"},
            stdin="typed\n",
        )
        assert answer["exit_code"] == 7
        assert answer["stdout"] == f"typed\nhello\n{codi.workspace}/sub\n"
        assert answer["stderr"] == "err\n"
        assert (answer["timed_out"], answer["truncated"]) == (False, False)

    async def test_at_the_limit_the_whole_group_is_killed(self, codi, client):
        mark = f"86400.{os.getpid()}"
        script = f"sleep {mark} & sleep {mark}; echo never"
        started = time.monotonic()
        answer = await client.exec(codi.route(), ["sh", "-c", script], timeout_seconds=0.3)
        assert time.monotonic() - started < LIMITS.exec_timeout
        assert (answer["timed_out"], answer["exit_code"], answer["stdout"]) == (True, -9, "")
        # The kernel ends them by a signal, of which nobody hears when it has arrived.
        await running(client, codi.route(), mark, count=0)

    async def test_when_the_caller_goes_the_whole_group_is_killed(self, codi, client):
        mark = f"86401.{os.getpid()}"
        script = f"sleep {mark} & sleep {mark}"
        call = asyncio.create_task(client.exec(codi.route(), ["sh", "-c", script]))
        await running(client, codi.route(), f"sleep {mark}", count=3)
        call.cancel()
        await asyncio.wait({call})
        await running(client, codi.route(), mark, count=0)
        assert (await client.exec(codi.route(), ["echo", "on"]))["stdout"] == "on\n"

    async def test_output_is_bounded_and_the_program_goes_on(self, codi, client):
        script = "head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2; exit 3"
        answer = await client.exec(codi.route(), ["sh", "-c", script])
        assert (len(answer["stdout"]), len(answer["stderr"])) == (10_000, 10_000)
        assert (answer["truncated"], answer["exit_code"]) == (True, 3)

    async def test_a_program_left_behind_is_not_waited_for(self, codi, client):
        answer = await client.exec(codi.route(), ["sh", "-c", "sleep 86400 & echo done"])
        assert (answer["stdout"], answer["timed_out"]) == ("done\n", False)

    async def test_output_that_is_no_utf8_is_answered(self, codi, client):
        answer = await client.exec(codi.route(), ["printf", r"a\377b"])
        assert answer["stdout"] == "a\ufffdb"

    async def test_orphans_are_reaped(self, codi, client):
        script = f"(sleep 86400.{os.getpid()} & echo $!)"
        answer = await client.exec(codi.route(), ["sh", "-c", script])
        orphan = int(answer["stdout"])
        parents = {one["pid"]: one["ppid"] for one in await client.processes(codi.route())}
        assert parents[orphan] == codi.process.pid
        os.kill(orphan, signal.SIGKILL)
        await eventually(lambda: not Path(f"/proc/{orphan}").exists())

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({}, 400),
            ({"argv": []}, 400),
            ({"argv": "ls"}, 400),
            ({"argv": [1]}, 400),
            ({"argv": ["x" * 200_000]}, 400),
            ({"argv": ["a\0b"]}, 400),
            ({"argv": ["echo", "a\0b"]}, 400),
            ({"argv": ["no-such-program"]}, 404),
            ({"argv": ["./none"]}, 404),
            ({"argv": ["/etc/passwd"]}, 403),
            ({"argv": ["true"], "cwd": "none"}, 400),
            ({"argv": ["true"], "cwd": 1}, 400),
            ({"argv": ["true"], "env": []}, 400),
            ({"argv": ["true"], "env": {"A=B": "c"}}, 400),
            ({"argv": ["true"], "env": {"A": 1}}, 400),
            ({"argv": ["true"], "timeout_seconds": 0}, 400),
            ({"argv": ["true"], "timeout_seconds": -1}, 400),
            ({"argv": ["true"], "timeout_seconds": 1e9}, 400),
            ({"argv": ["true"], "timeout_seconds": True}, 400),
            ({"argv": ["true"], "stdin": 5}, 400),
        ],
    )
    async def test_a_wrong_request_is_refused(self, http, body, status):
        response = await http.post("/exec", json=body)
        assert response.status_code == status, response.text

    @pytest.mark.parametrize(
        "body",
        [
            b'{"argv": ["true", "\\ud800"]}',
            b'{"argv": ["\\ud800"]}',
            b'{"argv": ["/\\ud800"]}',
            b'{"argv": ["true"], "env": {"\\ud800": "a"}}',
            b'{"argv": ["true"], "env": {"A": "\\ud800"}}',
            b'{"argv": ["true"], "cwd": "\\ud800"}',
            b'{"argv": ["true"], "stdin": "\\ud800"}',
        ],
    )
    async def test_surrogates_that_stand_for_no_byte_are_refused_at_once(self, http, body):
        response = await http.post("/exec", content=body)
        assert response.status_code == 400, response.text
        assert (await http.get("/health")).status_code == 200

    async def test_surrogates_that_stand_for_bytes_are_these(self, http):
        body = b'{"argv": ["printf", "%s", "\\udcc3\\udca9"]}'
        assert (await http.post("/exec", content=body)).json()["stdout"] == "é"

    async def test_no_more_than_so_many_programs_run_at_once(self, codi, client):
        started = [
            asyncio.create_task(client.exec(codi.route(), ["sleep", "86400"])) for _ in range(17)
        ]
        (refused,), others = await asyncio.wait(started, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(refused.exception(), TooManyRequests)
        for other in others:
            other.cancel()
        await asyncio.wait(others)


@pytest.mark.usefixtures("keeper")
class TestTerminals:
    async def test_a_shell_answers_in_the_workspace_with_job_control(self, codi, client):
        async with await client.connect_terminal(
            codi.route(), "main", {"client": "c", "create": "1", "cols": "100", "rows": "30"}
        ) as socket:
            attached = json.loads(await socket.recv())
            assert attached == {
                "type": "attached",
                "output_offset": 0,
                "input_offset": 0,
                "truncated": False,
                "shell_offset": 0,
                "cols": 100,
                "rows": 30,
                "sizes": True,
                "answers": False,
                "answers_from": 0,
            }
            await socket.send(b"tty; stty size; pwd; echo $TERM:$LANG; echo options-$-\n")
            seen, _ = await read_until(socket, b"options-him")
            assert b"/dev/pts/" in seen
            assert b"30 100" in seen
            assert os.fsencode(codi.workspace) in seen
            assert b"xterm-256color:C.UTF-8" in seen
            assert b"no job control" not in seen
            await socket.send(b"sleep 100.5\n")
            await running(client, codi.route(), "sleep 100.5")
            await socket.send(b"\x03")
            await read_until(socket, b"\x1b[?2004h")  # the next prompt: now input is not flushed
            await socket.send(b"echo $((6*7))=$?\n")
            await read_until(socket, b"42=130")

    async def test_reconnecting_shows_and_sends_every_byte_once(self, codi, client):
        route, offset = codi.route(), 0
        seen = b""
        for number in range(5):
            query = {"client": "c", "offset": str(offset), "create": "1"}
            socket = await client.connect_terminal(route, "t", query)
            attached = json.loads(await socket.recv())
            assert attached["output_offset"] == offset
            await socket.send(b"echo number-$((%d))\n" % (1000 + number))
            part, frames = await read_until(socket, b"number-%d\r\n" % (1000 + number))
            acks = [frame for frame in frames if frame["type"] == "input_ack"]
            ack = acks[-1] if acks else await read_frame(socket, "input_ack")
            assert ack["offset"] == attached["input_offset"] + len(b"echo number-$((1000))\n")
            seen += part
            offset += len(part)
            socket.transport.abort()
        async with await client.connect_terminal(route, "t", {"client": "other"}) as socket:
            await socket.recv()
            again, _ = await read_until(socket, b"number-1004\r\n")
        shorter = min(len(again), len(seen))  # either may have begun with the next prompt
        assert again[:shorter] == seen[:shorter]

    async def test_everybody_who_is_attached_sees_the_same(self, codi, client):
        async with contextlib.AsyncExitStack() as stack:
            sockets = []
            for number in range(4):
                query = {"client": f"c{number}", "create": "1", "cols": "80", "rows": "24"}
                socket = await client.connect_terminal(codi.route(), "t", query)
                sockets.append(await stack.enter_async_context(socket))
                await read_frame(socket, "attached")
            await sockets[0].send(json.dumps({"type": "resize", "cols": 120, "rows": 40}))
            for socket in sockets[1:]:
                resized = await read_frame(socket, "resized")
                assert (resized["cols"], resized["rows"]) == (120, 40)
            await sockets[1].send(b"echo together-$((1+1)); stty size\n")
            for socket in sockets:
                seen, _ = await read_until(socket, b"40 120")
                assert b"together-2" in seen

    async def test_a_change_of_directory_is_reported(self, codi, client):
        codi.workspace.joinpath("sub").mkdir()
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await socket.send(b"cd sub\n")
            frame = await read_frame(socket, "cwd")
            assert frame["path"] == f"{codi.workspace}/sub"
        listed = await client.terminals(codi.route())
        assert listed[0]["cwd"] == f"{codi.workspace}/sub"

    async def test_an_ended_shell_is_reported_and_a_new_one_continues(self, codi, client):
        route = codi.route()
        async with await client.connect_terminal(
            route, "t", {"client": "c", "create": "1"}
        ) as socket:
            await socket.recv()
            await socket.send(b"exit 5\n")
            assert (await read_frame(socket, "exit"))["code"] == 5
            assert await close_code(socket) == 4410
        (listed,) = await client.terminals(route)
        assert (listed["exited"], listed["exit_code"]) == (True, 5)
        end = listed["end_offset"]
        async with await client.connect_terminal(route, "t", {"client": "d"}) as socket:
            assert (await read_frame(socket, "exit"))["code"] == 5
        query = {"client": "c", "offset": str(end), "create": "1"}
        async with await client.connect_terminal(route, "t", query) as socket:
            attached = json.loads(await socket.recv())
            assert (attached["output_offset"], attached["shell_offset"]) == (end, end)
            assert attached["input_offset"] == len(b"exit 5\n")

    async def test_a_terminal_continues_the_numbers_of_a_lost_container(self, codi, client, keeper):
        keeper.terminals["t"] = KeptTerminal(5000, bytearray(b"x" * 40), {"c": 12})
        control = CodiControl()
        for _ in range(2):  # idempotent; a directory that is gone is no reason to have no shell
            await control.open_terminal(codi.route(), "t", cwd="/gone")
        query = {"client": "c", "offset": "5040"}
        async with await client.connect_terminal(codi.route(), "t", query) as socket:
            attached = json.loads(await socket.recv())
            assert attached["output_offset"] == attached["shell_offset"] == 5040
            assert (attached["input_offset"], attached["truncated"]) == (12, False)
            await socket.send(b"echo alive-$((1+1)); pwd\n")
            await read_until(socket, b"alive-2")
        assert len(keeper.terminals["t"].opened) == 1

    async def test_hanging_up_ends_the_shell_and_its_programs(self, codi, client):
        route, mark = codi.route(), f"86400.{os.getpid()}"
        async with await client.connect_terminal(route, "t", {"create": "1"}) as socket:
            await socket.send(f"sleep {mark}\n".encode())
            await running(client, route, f"sleep {mark}")
            await client.delete_terminal(route, "t")
            assert await close_code(socket) == 4410
        assert await client.terminals(route) == []
        # The kernel ends the shell's programs by a signal, of which nobody hears when it has arrived.
        await running(client, route, mark, count=0)
        with pytest.raises(NotFound):
            await client.delete_terminal(route, "t")

    async def test_a_newer_connection_of_a_client_replaces_the_older(self, codi, client):
        query = {"client": "same", "create": "1"}
        async with (
            await client.connect_terminal(codi.route(), "t", query) as first,
            await client.connect_terminal(codi.route(), "t", query) as second,
        ):
            assert await close_code(first) == 4411
            await second.send(b"echo still-$((1+1))\n")
            await read_until(second, b"still-2")

    async def test_there_are_no_more_terminals_than_allowed(self, codi, client):
        route = codi.route()
        for name in ("a", "b", "c"):
            assert (await client.open_terminal(route, name))[1]
        assert not (await client.open_terminal(route, "a"))[1]
        with pytest.raises(TooManyRequests):
            await client.open_terminal(route, "d")
        with pytest.raises(TooManyRequests):
            await client.connect_terminal(route, "d", {"create": "1"})
        await client.delete_terminal(route, "a")
        assert (await client.open_terminal(route, "d"))[1]

    @pytest.mark.parametrize(
        ("name", "query", "error"),
        [
            ("none", {}, NotFound),
            ("t", {"create": "1", "cols": "0"}, InvalidArgument),
            ("t", {"create": "1", "rows": "99999999999999999999"}, InvalidArgument),
            ("t", {"create": "1", "offset": "-5"}, InvalidArgument),
            ("t", {"create": "1", "client": "x" * 1000}, InvalidArgument),
            ("a/b", {"create": "1"}, InvalidArgument),
            ("new\nline", {"create": "1"}, InvalidArgument),
            ("x" * 200, {"create": "1"}, InvalidArgument),
        ],
    )
    async def test_a_wrong_connection_is_refused(self, codi, client, name, query, error):
        with pytest.raises(error):
            await client.connect_terminal(codi.route(), name, query)

    async def test_a_wrong_secret_opens_no_socket(self, codi, client):
        with pytest.raises(Unavailable):
            await client.connect_terminal(codi.route(secret="wrong"), "t", {"create": "1"})

    @pytest.mark.parametrize(
        "frame",
        [
            "nonsense",
            "[1]",
            '{"type": "resize", "cols": 0, "rows": 1}',
            '{"type": "resize", "cols": 100000, "rows": 1}',
            '{"type": "resize"}',
            "x" * 100_000,
        ],
    )
    async def test_a_bad_text_frame_closes_with_a_reason(self, codi, client, frame):
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await socket.send(frame)
            assert await close_code(socket) == 4400
            assert socket.close_reason
        assert (await client.terminals(codi.route()))[0]["exited"] is False

    async def test_text_that_is_no_utf8_closes_with_a_reason(self, codi, client):
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await socket.send(b'{"type": "\xff\xfe"}', text=True)
            assert await close_code(socket) == 4400

    async def test_a_message_that_is_too_large_closes(self, codi, client):
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            with contextlib.suppress(ConnectionClosed):
                await socket.send(b"x" * (3 << 20))
            assert await close_code(socket) == 1009
        assert (await health_of(codi.handle()))["status"] == "ok"

    async def test_fragments_and_pings_are_understood(self, codi, client):
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await socket.send([b"echo frag", b"ments-$((", b"1+1))\n"])
            await socket.send(['{"type": "res', 'ize", "cols": 90, ', '"rows": 20}'])
            await (await socket.ping())
            await read_until(socket, b"fragments-2")
            await socket.send(b"stty size\n")
            await read_until(socket, b"20 90")


@pytest.mark.usefixtures("keeper")
class TestFlood:
    @pytest.mark.parametrize("command", [b"yes\n", b"cat /dev/zero\n"])
    async def test_endless_output_leaves_codi_responsive(self, codi, client, command):
        route = codi.route()
        async with (
            await client.connect_terminal(route, "t", {"client": "reads", "create": "1"}) as reads,
            await client.connect_terminal(route, "t", {"client": "stops"}) as stops,
            await client.connect_terminal(route, "u", {"client": "other", "create": "1"}) as other,
        ):
            stops.transport.pause_reading()
            await reads.send(command)
            total, slowest, codes = 0, 0.0, set()
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline or total < 10 << 20:
                message = await asyncio.wait_for(reads.recv(), LIMIT_SECONDS)
                total += len(message)
                if total // (1 << 20) not in codes:
                    codes.add(total // (1 << 20))
                    started = time.monotonic()
                    await other.send(b"echo $((%d))-ok\n" % len(codes))
                    await read_until(other, b"%d-ok" % len(codes))
                    slowest = max(slowest, time.monotonic() - started)
            assert slowest < 10
            assert resident(codi) < 80 << 20
            await reads.send(b"\x03")
            stops.transport.resume_reading()
            assert await close_code(stops) in {4408, 1006}

    async def test_a_lone_client_that_stops_reading_stops_the_program_only(self, codi, client):
        route = codi.route()
        async with await client.connect_terminal(
            route, "t", {"client": "c", "create": "1"}
        ) as socket:
            attached = json.loads(await socket.recv())
            await socket.send(b"seq 1 1000000\n")
            socket.transport.pause_reading()
            ends = [0, 1]

            async def standing():
                ends.append((await client.terminals(route))[0]["end_offset"])
                return ends[-1] == ends[-2] > 256 << 10

            await wait_until(standing, timeout_seconds=LIMIT_SECONDS)
            socket.transport.resume_reading()
            seen, _ = await read_until(socket, b"\r\n1000000\r\n")
        begin = seen.index(b"1\r\n2\r\n3\r\n")
        lines = seen[begin:].split(b"\r\n")[:1000000]
        assert lines == [b"%d" % number for number in range(1, 1000001)]
        assert attached["output_offset"] == 0

    async def test_input_that_nobody_reads_is_bounded(self, codi, client):
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await socket.send(b"stty raw -echo; echo quiet-$((1+1)); sleep 1000\n")
            await read_until(socket, b"quiet-2")

            async def flood():
                for _ in range(1000):
                    await socket.send(b"x" * 100_000)

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(flood(), 1)
            assert resident(codi) < 80 << 20
            assert (await health_of(codi.handle()))["status"] == "ok"

    async def test_many_silent_connections_do_no_harm(self, codi, client):
        links = []
        with contextlib.suppress(OSError):
            for _ in range(600):
                link = socket.create_connection(("127.0.0.1", codi.port), timeout=5)
                links.append(link)
        for link in links:
            link.close()
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                with contextlib.suppress(Unavailable, DeadlineExceeded):
                    assert (await health_of(codi.handle()))["status"] == "ok"
                    return


@pytest.mark.usefixtures("keeper")
class TestTheEnd:
    async def test_sigterm_hangs_up_and_ends_soon(self, codi, client):
        mark = f"86400.{os.getpid()}"
        route = codi.route()
        async with await client.connect_terminal(route, "t", {"create": "1"}) as socket:
            await socket.send(f"trap '' HUP; sleep {mark}; echo no\n".encode())
            program = asyncio.create_task(client.exec(route, ["sleep", mark]))
            await running(client, route, f"sleep {mark}", 2)
            codi.process.terminate()
            assert await asyncio.to_thread(codi.process.wait, LIMIT_SECONDS) == 0
            assert await close_code(socket) in {1001, 1006, 4410}
        with pytest.raises(Unavailable):
            await program
        with pytest.raises(Unavailable):
            await client.terminals(route)
        with pytest.raises(Unavailable):
            await health_of(codi.handle())

    async def test_nothing_was_logged(self, codi, client):
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await socket.send(b"exit\n")
            await close_code(socket)
        codi.process.terminate()
        await asyncio.to_thread(codi.process.wait, LIMIT_SECONDS)
        assert codi.log.read_text() == ""


class TestJournal:
    """Nothing is shown, and no input acknowledged, before the journal has it."""

    @pytest.fixture
    async def journal(self, codi):
        """A journal that is not connected yet."""
        made = JournalKeeper(codi.handle())
        yield made
        await made.stop()

    async def test_a_terminal_shows_nothing_until_a_journal_connects(self, codi, client, journal):
        query = {"client": "c", "create": "1"}
        async with await client.connect_terminal(codi.route(), "t", query) as socket:
            reading = asyncio.create_task(read_frame(socket, "attached"))
            await socket.send(b"echo typed-$((1+1))\n")
            # A whole exchange with CODI: what it would have sent, it would have sent by now.
            (listed,) = await client.terminals(codi.route())
            assert (listed["clients"], listed["end_offset"]) == (0, 0)
            assert not reading.done()
            await journal.start()
            attached = await reading
            assert (attached["output_offset"], attached["input_offset"]) == (0, 0)
            await read_until(socket, b"typed-2\r\n")
        await journal.until("t", b"typed-2\r\n")

    async def test_output_is_shown_and_input_acknowledged_when_it_is_kept(
        self, codi, client, keeper
    ):
        query = {"client": "c", "create": "1"}
        async with await client.connect_terminal(codi.route(), "t", query) as socket:
            await read_frame(socket, "attached")
            await socket.send(b"stty -echo\n")
            await read_frame(socket, "input_ack")
            await socket.send(b"echo $((1+1))-ready\n")
            await read_until(socket, b"2-ready")
            keeper.hold()
            await socket.send(b"echo held-$((1+1))\n")
            await eventually(lambda: keeper.unanswered)
            shown = (await client.terminals(codi.route()))[0]["end_offset"]
            assert shown == keeper.terminals["t"].end
            await (await socket.ping())  # everything that CODI has sent is here now
            frames = await arrived(socket)
            assert b"held-2" not in b"".join(f for f in frames if isinstance(f, bytes))
            keeper.go_on()
            await read_until(socket, b"held-2")
            assert keeper.terminals["t"].inputs["c"] == len(
                b"stty -echo\necho $((1+1))-ready\necho held-$((1+1))\n"
            )

    async def test_what_was_not_kept_is_handed_over_again_on_the_next_connection(
        self, codi, client, keeper
    ):
        query = {"client": "c", "create": "1"}
        async with await client.connect_terminal(codi.route(), "t", query) as socket:
            await read_frame(socket, "attached")
            await socket.send(b"echo one-$((1+1))\n")
            await read_until(socket, b"one-2")
            keeper.hold()
            await socket.send(b"echo two-$((1+1))\n")
            await eventually(lambda: keeper.unanswered)
            await keeper.stop()  # with a batch that it never kept
            kept = keeper.terminals["t"].end
            keeper.go_on()
            await keeper.start()
            await read_until(socket, b"two-2")
        assert keeper.terminals["t"].opened[-1].kept == kept
        await keeper.until("t", b"two-2")

    async def test_a_batch_that_was_kept_without_an_answer_is_not_shown_twice(
        self, codi, client, keeper
    ):
        query = {"client": "c", "create": "1"}
        async with await client.connect_terminal(codi.route(), "t", query) as socket:
            await read_frame(socket, "attached")
            await socket.send(b"echo one-$((1+1))\n")
            seen, _ = await read_until(socket, b"one-2")
            keeper.hold()
            await socket.send(b"echo two-$((1+1))\n")
            await eventually(lambda: keeper.unanswered)
            (lost,) = keeper.unanswered
            await keeper.stop()
            terminal = keeper.terminals["t"]  # as if it had been kept, and its answer lost
            terminal.data += lost.data
            terminal.inputs |= lost.inputs
            keeper.go_on()
            await keeper.start()
            seen, _ = await read_until(socket, b"two-2", seen)
            await socket.send(b"echo three-$((1+1))\n")
            seen, _ = await read_until(socket, b"three-2", seen)
        assert bytes(terminal.data).startswith(seen)

    async def test_a_newer_journal_takes_the_place_of_the_older(self, codi, client, keeper):
        other = JournalKeeper(codi.handle())
        other.terminals = keeper.terminals
        await other.start()
        await keeper.ended()
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await socket.send(b"echo on-$((1+1))\n")
            await read_until(socket, b"on-2")
        await other.stop()

    async def test_without_a_journal_endless_output_stops_at_a_bound_and_goes_on_with_one(
        self, codi, client, keeper
    ):
        query = {"client": "c", "create": "1"}
        async with await client.connect_terminal(codi.route(), "t", query) as socket:
            await read_frame(socket, "attached")
            await keeper.stop()
            await socket.send(b"yes\n")
            await sleeps(await pid_of(client, codi.route(), "yes"))
            assert resident(codi) < 80 << 20
            await keeper.start()
            await read_until(socket, b"y\r\n" * 200_000)

    async def test_a_shell_that_ends_amid_endless_output_without_a_journal_loses_none_of_it(
        self, codi, client, keeper
    ):
        query = {"client": "c", "create": "1"}
        async with await client.connect_terminal(codi.route(), "t", query) as socket:
            await read_frame(socket, "attached")
            await keeper.stop()
            # It prints nothing at its end: its own words would wait for the journal, too.
            await socket.send(b"yes & until [ -e go ]; do sleep 0.02; done; kill -9 $$\n")
            await sleeps(await pid_of(client, codi.route(), "yes"))
            (codi.workspace / "go").touch()

            async def exited():
                return (await client.terminals(codi.route()))[0]["exited"]

            await wait_until(exited, timeout_seconds=LIMIT_SECONDS, pause_seconds=0.02)
            await keeper.start()
            seen = b""
            with contextlib.suppress(ConnectionClosed):
                async with asyncio.timeout(LIMIT_SECONDS):
                    while True:
                        frame = await socket.recv()
                        seen += frame if isinstance(frame, bytes) else b""
            assert socket.close_code == 4410
        terminal = keeper.terminals["t"]
        assert bytes(terminal.data).endswith(seen[-1000:])
        assert len(seen) > 256 << 10
        await eventually(lambda: terminal.exits)
        assert [end for _, end in terminal.exits] == [terminal.end]
        assert codi.log.read_text() == ""

    async def test_an_exit_is_reported_behind_the_last_byte(self, codi, client, keeper):
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await read_frame(socket, "attached")
            await socket.send(b"seq 1 20000; exit 5\n")
            seen, _ = await read_until(socket, b"20000\r\n")
            assert (await read_frame(socket, "exit"))["code"] == 5
        terminal = keeper.terminals["t"]
        await eventually(lambda: terminal.exits)
        assert terminal.exits == [(5, terminal.end)]
        assert bytes(terminal.data).startswith(seen)

    async def test_an_exit_is_reported_again_to_a_journal_that_connects_later(
        self, codi, client, keeper
    ):
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await socket.send(b"exit 5\n")
            await read_frame(socket, "exit")
        await keeper.stop()
        await keeper.start()
        await eventually(lambda: keeper.terminals["t"].exits[1:])
        assert [code for code, _ in keeper.terminals["t"].exits] == [5, 5]

    async def test_another_shell_of_a_terminal_is_announced(self, codi, client, keeper):
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await socket.send(b"exit\n")
            await read_frame(socket, "exit")
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await socket.send(b"echo again-$((1+1))\n")
            await read_until(socket, b"again-2")
        assert [opened.kept is None for opened in keeper.terminals["t"].opened] == [True, False]

    async def test_where_a_shell_is_and_goes_is_reported_before_what_it_prints_there(
        self, codi, client, keeper
    ):
        codi.workspace.joinpath("sub").mkdir()
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await socket.send(b"cd sub; echo in-$((1+1))\n")
            await read_until(socket, b"in-2")
            terminal = keeper.terminals["t"]
            assert terminal.opened[0].cwd == str(codi.workspace)
            assert terminal.cwds == [f"{codi.workspace}/sub"]

    async def test_a_container_that_stops_reports_no_exit(self, codi, client, keeper):
        async with await client.connect_terminal(codi.route(), "t", {"create": "1"}) as socket:
            await socket.send(b"echo up-$((1+1))\n")
            await read_until(socket, b"up-2")
            codi.process.terminate()
            await keeper.ended()
        assert keeper.terminals["t"].exits == []

    async def test_a_journal_needs_the_containers_secret(self, codi):
        handle = codi.handle().model_copy(update={"secret": "wrong"})
        with pytest.raises(Unavailable):
            await JournalKeeper(handle).start()

    @pytest.mark.parametrize(
        "frame",
        [
            "nonsense",
            "[]",
            "{}",
            '{"type": "numbered", "id": 1}',
            '{"type": "numbered", "id": 1, "end": "x", "inputs": {}}',
            '{"type": "kept", "ends": [[1]]}',
            '{"type": "kept", "ends": 5}',
        ],
    )
    async def test_a_bad_frame_of_the_journal_ends_its_connection_only(
        self, codi, client, keeper, frame
    ):
        await client.open_terminal(codi.route(), "t")
        url = f"ws://{codi.address}/journal"
        async with connect(url, additional_headers=codi.headers, proxy=None) as socket:
            await socket.recv()
            await socket.send(frame)
            assert await close_code(socket) == 4400
        await keeper.stop()
        await keeper.start()
        async with await client.connect_terminal(codi.route(), "t", {}) as socket:
            await socket.send(b"echo on-$((1+1))\n")
            await read_until(socket, b"on-2")


async def arrived(socket):
    """Return the frames that have arrived already."""
    frames = []
    with contextlib.suppress(TimeoutError):
        while True:
            frames.append(await asyncio.wait_for(socket.recv(), 0.05))
    return frames


async def pid_of(client, route, command):
    async def probe():
        found = [one["pid"] for one in await client.processes(route) if one["command"] == command]
        return found[0] if found else None

    return await wait_until(probe, timeout_seconds=LIMIT_SECONDS, pause_seconds=0.02)


async def sleeps(pid):
    """Wait until a process has used no processor time between three looks, or has ended."""
    looks = [None, None]

    async def still():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            return True
        looks.append((fields[11], fields[12]))
        return fields[0] == "S" and looks[-1] == looks[-2] == looks[-3]

    await wait_until(still, timeout_seconds=LIMIT_SECONDS, pause_seconds=0.1)


def resident(codi: Codi) -> int:
    status = Path(f"/proc/{codi.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10
