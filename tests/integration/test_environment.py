"""What a user sets, on a real server with real containers: who finds it, and where it is not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.people import Person
from tests.support.server_process import ServerProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.sandbox]

SECRET = "zq7-a-value-that-lies-nowhere-in-clear"
SHOW = ["sh", "-c", 'printf %s "$TOKEN" | wc -c; echo $PLAIN']
SEEN = f"{len(SECRET)}\nseen\n"
IN_CLEAR = ["sh", "-c", 'grep -rlFe "$TOKEN" /workspace /tmp 2>/dev/null; test -n "$TOKEN"']


def places_in_clear(data_dir: Path, value: str) -> list[Path]:
    """Return the files of a server that hold a text; those of its workspaces apart."""
    found = []
    for place, directories, names in os.walk(data_dir):
        if Path(place) == data_dir:
            directories.remove("workspaces")
        paths = [Path(place, name) for name in names]
        found += [each for each in paths if each.is_file() and value.encode() in each.read_bytes()]
    return found


async def test_what_a_person_sets_is_their_new_programs_alone_and_survives_containers(
    person: Person, new_person: Callable, server: ServerProcess
) -> None:
    client, session_id = person.client, person.session_id
    async with await client.terminal(session_id, "old") as old:
        await old.send("echo rea''dy\r")
        await old.read_until(b"ready\r\n")
        await client.set_variable("PLAIN", "seen")
        await client.set_secret("TOKEN", SECRET)
        assert (await client.exec(session_id, SHOW)).stdout == SEEN
        await old.send("echo =$PLAIN,${#TOKEN}=\r")
        await old.read_until(b"=,0=\r\n")
    async with await client.terminal(session_id, "new") as new:
        await new.send("echo 1=$PLAIN,${#TOKEN}=\r")
        await new.read_until(f"1=seen,{len(SECRET)}=\r\n".encode())
        before = await client.session(session_id)
        os.kill(server.containers()[str(before.container_id)], signal.SIGKILL)
        await wait_until(lambda: client.session(session_id), lambda s: s.epoch > before.epoch)
        await new.send("echo 2=$PLAIN,${#TOKEN}=\r")
        await new.read_until(f"2=seen,{len(SECRET)}=\r\n".encode())
    await client.hibernate(session_id)
    await wait_until(lambda: client.session(session_id), lambda s: s.status == "hibernated")
    assert (await client.exec(session_id, SHOW)).stdout == SEEN
    other = await new_person()
    assert (await other.client.exec(other.session_id, SHOW)).stdout == "0\n\n"
    inside = await client.exec(session_id, IN_CLEAR)
    assert (inside.exit_code, inside.stdout) == (0, "")
    assert places_in_clear(server.data_dir, SECRET) == []
    assert places_in_clear(server.data_dir, "Opens the secrets")  # it does find what is there


async def test_a_new_session_has_everything_at_first_use_and_the_log_of_its_dotfiles(
    person: Person,
) -> None:
    client = person.client
    await client.set_variable("PLAIN", "seen")
    await client.change_preferences(
        dotfiles_repository="file:///workspace/none.git", shell="/bin/dash", time_zone="Asia/Tokyo"
    )
    session = await client.open_session("second")
    try:
        shown = await client.exec(session.session_id, ["sh", "-c", "echo $PLAIN; date +%z"])
        assert shown.stdout == "seen\n+0900\n"
        async with await client.terminal(session.session_id, "main") as terminal:
            await terminal.send("echo is $0\r")
            await terminal.read_until(b"is dash\r\n")

        async def log() -> str:
            path = ".local/state/coditect/dotfiles.log"
            return (await client.exec(session.session_id, ["cat", path])).stdout

        assert "none.git" in await wait_until(log, lambda text: "nothing is installed" in text)
    finally:
        await client.end_session(session.session_id)
