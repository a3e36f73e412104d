"""CODI's part of users' environments: versions, what is put back, shells, and dotfiles."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from actors.core.errors.requests import InvalidArgument
from actors.core.records.environment import Environment
from cluster.codi.agent.programs import dotfiles
from cluster.codi.agent.programs.dotfiles import LOG
from cluster.codi.answers import Asked, EnvironmentMissing
from cluster.codi.client import HttpCodiClient
from tests.support.codi_process import run_codi
from tests.support.waiting import wait_until

VALUE = "a-value-that-lies-nowhere"


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


@pytest.fixture
def codi(tmp_path, stage):
    with run_codi(tmp_path, stage) as running:
        yield running


@pytest.fixture
async def client():
    async with HttpCodiClient() as made:
        yield made


async def shown(codi, client, script: str, version: int = 0) -> str:
    route = codi.route().model_copy(update={"environment": version})
    return (await client.exec(route, ["sh", "-c", script]))["stdout"].strip()


async def test_what_needs_a_newer_version_is_refused_until_it_is_there(codi, client):
    route = codi.route().model_copy(update={"environment": 2})
    for call in (
        client.exec(route, ["true"]),
        client.open_terminal(route, "main"),
        client.connect_terminal(route, "main", {"create": "1"}),
    ):
        with pytest.raises(EnvironmentMissing):
            await call
    assert await client.terminals(codi.route()) == []
    await client.put_environment(codi.route(), Environment(2, {"A": "x"}))
    assert await shown(codi, client, "echo $A", 2) == "x"


async def test_the_newest_version_is_all_there_is_and_what_it_hid_comes_back(codi, client):
    lang = await shown(codi, client, "echo $LANG")
    await client.raise_epoch(codi.route(), None, Environment(2, {"A": "x", "LANG": "de_DE"}))
    assert await shown(codi, client, "echo $A,$LANG") == "x,de_DE"
    await client.put_environment(codi.route(), Environment(1, {"A": "older"}))
    assert await shown(codi, client, "echo $A,$LANG") == "x,de_DE"
    await client.put_environment(codi.route(), Environment(3, {"B": "y"}))
    assert await shown(codi, client, "echo $A,$B,$LANG") == f",y,{lang}"


async def test_values_are_in_programs_alone(codi, client):
    await client.put_environment(codi.route(), Environment(1, {"A": VALUE}))
    assert await shown(codi, client, "echo $A") == VALUE
    assert VALUE.encode() not in Path(f"/proc/{codi.process.pid}/environ").read_bytes()
    assert VALUE.encode() not in Path(f"/proc/{codi.process.pid}/cmdline").read_bytes()
    assert VALUE.encode() not in codi.log.read_bytes()
    files = [Path(place, name) for place, _, names in os.walk(codi.workspace) for name in names]
    assert not any(VALUE.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"version": -1, "variables": {}},
        {"version": True, "variables": {}},
        {"version": 1, "variables": []},
        {"version": 1, "variables": {"": "x"}},
        {"version": 1, "variables": {"A=B": "x"}},
        {"version": 1, "variables": {"A": "x\0"}},
        {"version": 1, "variables": {"A": 1}},
        {"version": 1, "variables": {}, "shell": 5},
        {"version": 1, "variables": {}, "dotfiles": "--evil"},
    ],
)
async def test_what_is_no_environment_is_refused(codi, client, document):
    with pytest.raises(InvalidArgument):
        await client._json(
            Asked(codi.route()),
            "PUT",
            "/environment",
            document,
        )
    assert await shown(codi, client, "echo on") == "on"


def repository(place: Path, files: dict[str, str]) -> str:
    """Make a git repository with one commit."""
    place.mkdir()
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for arguments in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", *arguments], cwd=place, check=True)
    return f"file://{place}"


async def installed(codi, client, url: str, end: str) -> str:
    log = codi.workspace / LOG
    await client.put_environment(codi.route(), Environment(1, {"A": "of the user"}, dotfiles=url))

    async def ended():
        return log.exists() and end in log.read_text()

    await wait_until(ended, pause_seconds=0.02)
    return log.read_text()


async def test_dotfiles_are_installed_once_by_their_script_and_leave_a_log(codi, client, tmp_path):
    script = 'echo "A is $A"; echo once >> ~/.installed; exit 7'
    url = repository(tmp_path / "dots", {"install.sh": script, "setup.sh": "touch ~/.wrong"})
    log = await installed(codi, client, url, "ended with 7\n")
    assert "running install.sh\nA is of the user\ninstall.sh ended with 7\n" in log
    await client.put_environment(codi.route(), Environment(2, {}, dotfiles=url))
    assert await shown(codi, client, "cat ~/.installed") == "once"
    assert not (codi.workspace / ".wrong").exists()
    assert (codi.workspace / LOG).read_text() == log


async def test_without_a_script_they_are_linked_where_nothing_is(codi, client, tmp_path):
    (codi.workspace / ".bashrc").write_text("mine")
    url = repository(tmp_path / "dots", {".bashrc": "theirs", ".vimrc": "set nu", "README": "x"})
    log = await installed(codi, client, url, "done\n")
    assert "left " in log
    assert (codi.workspace / ".bashrc").read_text() == "mine"
    assert (codi.workspace / ".vimrc").read_text() == "set nu"
    assert sorted(p.name for p in codi.workspace.iterdir() if p.is_symlink()) == [".vimrc"]


async def test_what_cannot_be_cloned_is_said_and_harms_nothing(codi, client, tmp_path):
    log = await installed(codi, client, f"file://{tmp_path}/none", "could not be cloned")
    assert "none" in log
    assert await shown(codi, client, "echo on") == "on"


def test_an_installation_without_end_is_ended(tmp_path):
    killed: list[int] = []

    class Endless:
        def signal_group(self, number: int) -> None:
            killed.append(number)

    log = tmp_path / "log"
    log.write_text("running\n")
    dotfiles._stop(Endless(), str(log))
    assert killed == [9]
    assert "took too long" in log.read_text()
