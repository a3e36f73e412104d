"""``POST /exec``: what it leaves behind goes on, codes as documented, and what is wrong is named."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import httpx
import pytest

from actors.core.errors.access import PermissionDenied
from actors.core.errors.requests import InvalidArgument, NotFound
from cluster.codi.agent import introduction
from cluster.codi.agent.files import spills
from cluster.codi.bundle import Limits
from cluster.codi.client import HttpCodiClient
from cluster.codi.control import CodiControl
from tests.support.codi_process import run_codi
from tests.support.waiting import wait_until

LIMITS = Limits(exec_output=10_000, exec_timeout=120.0)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


@pytest.fixture
def codi(tmp_path, stage):
    with run_codi(tmp_path, stage, LIMITS) as running:
        yield running


@pytest.fixture
async def client():
    async with HttpCodiClient() as made:
        yield made


async def grows(path: Path, beyond: int) -> None:
    async def probe():
        return path.exists() and path.stat().st_size > beyond

    await wait_until(probe, pause_seconds=0.02)


class TestLeftBehind:
    async def test_what_prints_in_the_background_prints_on(self, codi, client):
        log = codi.workspace / "log"
        script = "(while echo tick && echo tock >&2; do date >> log; sleep 0.02; done) & echo on"
        answer = await client.exec(codi.route(), ["sh", "-c", script])
        assert answer["exit_code"] == 0
        assert "on" in answer["stdout"].splitlines()  # and perhaps what the other printed first
        await grows(log, 0)
        await grows(log, log.stat().st_size + 1000)  # some thirty lines after the answer

    async def test_what_prints_without_end_is_read_without_end_and_others_are_answered(
        self, codi, client
    ):
        script = "(while :; do cat /dev/zero | head -c 1000000; echo x >> log; done) & :"
        await client.exec(codi.route(), ["sh", "-c", script])
        await grows(codi.workspace / "log", 10)  # ten times more than a pipe holds
        assert (await client.exec(codi.route(), ["echo", "on"]))["stdout"] == "on\n"

    async def test_nothing_is_kept_open_for_those_that_have_ended(self, codi, client):
        descriptors = Path(f"/proc/{codi.process.pid}/fd")
        await client.exec(codi.route(), ["true"])
        before = len(list(descriptors.iterdir()))
        for _ in range(5):
            await client.exec(codi.route(), ["sh", "-c", "(sleep 0.5; echo late) & echo on"])

        async def probe():
            return len(list(descriptors.iterdir())) <= before

        await wait_until(probe, pause_seconds=0.05)

    async def test_a_daemon_survives_the_limit_of_what_started_it(self, codi, client):
        script = "setsid sh -c 'while echo tick; do echo x >> log; sleep 0.02; done' & sleep 60"
        answer = await client.exec(codi.route(), ["sh", "-c", script], timeout_seconds=0.5)
        assert answer["timed_out"]
        log = codi.workspace / "log"
        await grows(log, 0)
        await grows(log, log.stat().st_size + 30)


class TestExitCodes:
    @pytest.mark.parametrize("number", [1, 2, 9, 11, 13, 15])
    async def test_a_signal_is_a_negative_code(self, codi, client, number):
        answer = await client.exec(codi.route(), ["sh", "-c", f"kill -{number} $$"])
        assert answer["exit_code"] == -number

    async def test_a_code_is_a_code_also_one_that_looks_like_a_signal(self, codi, client):
        assert (await client.exec(codi.route(), ["sh", "-c", "exit 137"]))["exit_code"] == 137

    async def test_the_limit_kills(self, codi, client):
        answer = await client.exec(codi.route(), ["sleep", "60"], timeout_seconds=0.2)
        assert (answer["exit_code"], answer["timed_out"]) == (-9, True)


class TestWhatIsWrongIsNamed:
    @pytest.fixture(autouse=True)
    def _files(self, codi):
        files = {
            "text": (b"just text\n", 0o755),
            "damaged": (b"\x7fELF not really", 0o755),
            "no-interpreter": (b"#!/none/at/all\n", 0o755),
            "not-executable": (b"#!/bin/sh\n", 0o644),
            "script": (b"#!/bin/sh\necho ran $0\n", 0o755),
        }
        for name, (content, mode) in files.items():
            path = codi.workspace / name
            path.write_bytes(content)
            path.chmod(mode)
        codi.workspace.joinpath("directory").mkdir()

    @pytest.mark.parametrize(
        ("argv", "field"),
        [
            (["./text"], "argv"),
            (["./damaged"], "argv"),
            (["./no-interpreter"], "argv"),
            (["./script/below"], "argv"),
            (["./" + "x" * 300], "argv"),
            ([""], "argv"),
            (["echo", "a\0b"], "argv"),
            (["echo", "\ud800"], "argv"),
            (["echo", "x" * (128 << 10)], "argv"),
            (["echo", "\u20ac" * 50_000], "argv"),
            (["echo"] + ["x" * 100_000] * 12, "argv"),
        ],
    )
    async def test_a_program_that_cannot_be(self, codi, client, argv, field):
        with pytest.raises(InvalidArgument) as refused:
            await client.exec(codi.route(), argv)
        assert refused.value.field == field

    @pytest.mark.parametrize("name", ["./not-executable", "./directory", "/"])
    async def test_a_program_that_may_not_be_run(self, codi, client, name):
        with pytest.raises(PermissionDenied, match="argv"):
            await client.exec(codi.route(), [name])

    @pytest.mark.parametrize("name", ["no-such-program", "./none", "l", "\udcff"])
    async def test_a_program_that_is_not_there(self, codi, client, name):
        with pytest.raises(NotFound) as refused:
            await client.exec(codi.route(), [name])
        assert (refused.value.kind, refused.value.identity) == ("program", ascii(name)[1:-1])

    @pytest.mark.parametrize("cwd", ["none", "script", "script/below", "x" * 300, "a\0b", "\ud800"])
    async def test_a_directory_that_is_none(self, codi, client, cwd):
        with pytest.raises(InvalidArgument) as refused:
            await client.exec(codi.route(), ["true"], cwd=cwd)
        assert refused.value.field == "cwd"

    @pytest.mark.parametrize(
        "env", [{"": "x"}, {"A=B": "x"}, {"A": "\0"}, {"A": "x" * 200_000}, {"A": "\ud800"}]
    )
    async def test_a_variable_that_is_none(self, codi, client, env):
        with pytest.raises(InvalidArgument) as refused:
            await client.exec(codi.route(), ["true"], env=env)
        assert refused.value.field == "env"

    async def test_a_program_is_found_from_the_directory_that_it_gets(self, codi, client):
        codi.workspace.joinpath("directory/mine").symlink_to("../script")
        answer = await client.exec(
            codi.route(), ["mine"], cwd="directory", env={"PATH": ".:/usr/bin:/bin"}
        )
        assert answer["stdout"] == "ran ./mine\n"


class TestWhoseItIs:
    async def test_git_knows_the_accounts_address_also_in_shells_that_run_already(
        self, codi, client
    ):
        wait = "echo > up; until [ -e known ]; do sleep 0.02; done"
        script = f"{wait}; git config user.email; git config user.name"
        running = asyncio.create_task(client.exec(codi.route(), ["sh", "-c", script]))
        await grows(codi.workspace / "up", 0)
        await CodiControl().raise_epoch(codi.route(), "ada@example.com")
        (codi.workspace / "known").touch()
        answer = await running
        path = Path(introduction.place("c-1"))
        shutil.rmtree(path.parent)
        if shutil.which("git"):
            assert answer["stdout"] == "ada@example.com\nada\n"

    async def test_what_is_no_address_is_refused(self, codi):
        with pytest.raises(InvalidArgument):
            await CodiControl().raise_epoch(codi.route(), "nobody")


class TestBytesThatAreNoText:
    async def test_they_reach_the_program_as_they_are(self, codi, client):
        strange = os.fsdecode(b"\xff\xfe caf\xe9")
        codi.workspace.joinpath(strange).mkdir()
        script = 'printf %s "$1$WORD" | od -An -tx1; pwd | od -An -tx1; cat | od -An -tx1'
        answer = await client.exec(
            codi.route(), ["sh", "-c", script, "sh", strange], cwd=strange, env={"WORD": strange},
            stdin=strange,
        )  # fmt: skip
        given = os.fsencode(strange).hex()
        printed = "".join(answer["stdout"].split())
        assert printed.count(given) == 4
        assert not answer["timed_out"]

    async def test_stdin_that_stands_for_nothing_is_refused(self, codi):
        body = json.dumps({"argv": ["cat"], "stdin": "\ud800"})
        async with httpx.AsyncClient(headers=codi.headers, trust_env=False, timeout=60) as http:
            answer = await http.post(f"http://{codi.address}/exec", content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")


class TestMoreThanTheAnswerHas:
    async def test_all_of_it_is_in_a_file_that_the_answer_names(self, codi, client):
        script = "head -c 3000000 /dev/urandom > made; cat made; echo short >&2"
        answer = await client.exec(codi.route(), ["sh", "-c", script])
        assert (answer["truncated"], answer["stdout_bytes"]) == (True, 3_000_000)
        kept = codi.workspace / answer["stdout_file"]
        assert kept.read_bytes() == (codi.workspace / "made").read_bytes()
        assert kept.stat().st_mode & 0o777 == 0o600
        assert (answer["stderr"], answer["stderr_file"]) == ("short\n", None)

    async def test_the_newest_are_kept_and_nothing_of_a_persons_own_goes(self, codi, client):
        place = codi.workspace / os.fsdecode(spills.DIRECTORY)
        place.mkdir(parents=True)
        (place / "mine").touch()
        for _ in range(20):
            answer = await client.exec(codi.route(), ["head", "-c", "10001", "/dev/zero"])
        left = sorted(path.name for path in place.iterdir())
        assert (len(left), left[-1]) == (17, "mine")
        assert (codi.workspace / answer["stdout_file"]).stat().st_size == 10_001

    async def test_a_link_in_its_place_leads_nowhere(self, codi, client, tmp_path):
        (tmp_path / "outside").mkdir()
        (codi.workspace / ".cache").symlink_to(tmp_path / "outside")
        answer = await client.exec(codi.route(), ["head", "-c", "10001", "/dev/zero"])
        assert (answer["truncated"], answer["stdout_file"]) == (True, None)
        assert list((tmp_path / "outside").iterdir()) == []
