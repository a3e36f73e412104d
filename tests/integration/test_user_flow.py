"""A person's way through the public client, on a real server (ADR 9.1, 9.2)."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import tarfile
from pathlib import Path

import pytest

from coditect import AsyncClient, InvalidRequest, NotFound, PreconditionFailed, Unauthorized
from tests.support.breakable import breakable, times_attached
from tests.support.people import PASSWORD
from tests.support.waiting import wait_until

pytestmark = pytest.mark.ray


async def test_login_leads_to_a_ready_container(person):
    details = await wait_until(
        lambda: person.client.session(person.session_id), lambda s: s.container_status == "ready"
    )
    assert details.status == "ready"
    assert details.container_id
    assert person.login.workspace_url.endswith(f"/workspaces/{person.session_id}")


async def test_second_login_attaches_to_the_same_session(person, server):
    async with AsyncClient(server.url) as other:
        assert (await other.login(person.email, PASSWORD)).session_id == person.session_id


async def test_a_typed_command_answers_in_the_terminal(person):
    async with await person.client.terminal(person.session_id, "main") as terminal:
        await terminal.send("echo $((6 * 7))$((1 + 1))\r")
        assert b"422" in await terminal.read_until(b"422")


async def test_a_saved_file_is_read_by_the_shell_and_back(person):
    receipt = await person.client.write_file(
        person.session_id, "dir with space/naïve.txt", b"hello\n"
    )
    assert receipt.durable
    assert receipt.size == 6
    result = await person.client.exec(person.session_id, ["cat", "dir with space/naïve.txt"])
    assert result.stdout == "hello\n"
    await person.client.exec(person.session_id, ["sh", "-c", "printf more > made.txt"])
    assert await person.client.read_file(person.session_id, "made.txt") == b"more"
    assert {"made.txt", "dir with space"} <= {
        entry.name for entry in await person.client.tree(person.session_id)
    }


async def test_a_directory_goes_up_and_is_searched_and_watched(person):
    client, session_id = person.client, person.session_id
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in {"in/one.txt": b"a needle\n", "in/two.txt": b"hay\n"}.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o640
            archive.addfile(entry, io.BytesIO(content))
    done = await client.unpack(session_id, "up here", packed.getvalue())
    assert not done.failed
    found = [each async for each in client.search(session_id, "needle", kind="content")]
    assert [(each.path, each.line) for each in found] == [("up here/in/one.txt", 1)]
    named = [each.path async for each in client.search(session_id, "two")]
    assert named == ["up here/in/two.txt"]
    changes = client.watch(session_id, "up here")
    async with asyncio.timeout(60):
        await anext(changes)  # it has begun
        await client.exec(session_id, ["sh", "-c", "echo 3 > 'up here/in/three.txt'"])
        async for change in changes:
            if change.path.endswith("three.txt"):
                break
    await changes.aclose()


async def test_save_versions_grow(person):
    first = await person.client.write_file(person.session_id, "a", b"1")
    second = await person.client.write_file(person.session_id, "a", b"2")
    assert second.version > first.version


async def test_a_save_over_somebody_elses_change_is_refused(person):
    first = await person.client.write_file(person.session_id, "a", b"1")
    second = await person.client.write_file(person.session_id, "a", b"2", if_match=first.etag)
    await person.client.exec(person.session_id, ["sh", "-c", "echo theirs > a"])
    with pytest.raises(PreconditionFailed):
        await person.client.write_file(person.session_id, "a", b"mine", if_match=second.etag)
    assert await person.client.read_file(person.session_id, "a") == b"theirs\n"


async def test_killed_container_is_replaced_and_nothing_is_lost(person, server):
    await person.client.write_file(person.session_id, "kept.txt", b"kept")
    await person.client.patch_workspace_state(person.session_id, {"open_files": ["kept.txt"]})
    async with await person.client.terminal(person.session_id, "main") as terminal:
        await terminal.send("echo be''fore\r")
        await terminal.read_until(b"before\r\n")
        before = await person.client.session(person.session_id)
        pid = server.containers()[before.container_id]
        os.kill(pid, signal.SIGKILL)
        # What is typed now must reach the next container, not the last moment of this one.
        await wait_until(lambda: asyncio.sleep(0, not Path(f"/proc/{pid}").exists()))
        await terminal.send("echo af''ter\r")
        await terminal.read_until(b"after\r\n")
        assert times_attached(terminal) == 1
        assert "restarted" in {event["type"] for event in terminal.events}
    after = await wait_until(
        lambda: person.client.session(person.session_id), lambda s: s.status == "ready"
    )
    assert after.container_id != before.container_id
    assert after.epoch > before.epoch
    assert after.workspace_state["open_files"] == before.workspace_state["open_files"]
    assert await person.client.read_file(person.session_id, "kept.txt") == b"kept"


async def test_a_dropped_connection_resumes_without_loss_or_repeat(person):
    async with (
        breakable(person.client) as (client, line),
        await client.terminal(person.session_id, "main") as terminal,
    ):
        await terminal.send("for i in $(seq 1 3000); do echo line$i; done; echo do''ne\r")
        await terminal.read_until(b"line100\r\n")
        line.cut()
        rest = await terminal.read_until(b"done\r\n")
        await terminal.send("echo a''gain\r")
        await terminal.read_until(b"again\r\n")  # by a new connection
        numbers = [int(line[4:]) for line in rest.split(b"\r\n") if line.startswith(b"line")]
        assert numbers == list(range(101, 3001))
        assert times_attached(terminal) > 1


async def test_hibernate_and_resume_keep_files(person, server):
    await person.client.write_file(person.session_id, "sleepy", b"zzz")
    before = await person.client.session(person.session_id)
    await person.client.hibernate(person.session_id)
    await wait_until(
        lambda: person.client.session(person.session_id), lambda s: s.status == "hibernated"
    )

    async def container_runs() -> bool:
        return before.container_id in server.containers()

    await wait_until(container_runs, lambda runs: not runs)
    await person.client.resume(person.session_id)
    await wait_until(
        lambda: person.client.session(person.session_id), lambda s: s.status == "ready"
    )
    assert await person.client.read_file(person.session_id, "sleepy") == b"zzz"


async def test_another_users_session_is_not_found(new_person):
    mine, theirs = await new_person(), await new_person()
    for call in (
        mine.client.session(theirs.session_id),
        mine.client.exec(theirs.session_id, ["id"]),
        mine.client.tree(theirs.session_id),
        mine.client.end_session(theirs.session_id),
        mine.client.terminal(theirs.session_id, "main"),
    ):
        with pytest.raises(NotFound):
            await call


async def test_wrong_password_and_unknown_user_get_the_same_answer(person, server):
    async with AsyncClient(server.url) as client:
        answers = []
        for email in (person.email, "nobody@example.com"):
            with pytest.raises(Unauthorized) as refused:
                await client.login(email, "wrong password")
            answers.append((refused.value.status, refused.value.code, refused.value.detail))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("path", ["../etc/passwd", "a/../../b", "/etc/passwd", "link/passwd"])
async def test_paths_out_of_the_workspace_are_refused(person, path):
    await person.client.exec(person.session_id, ["ln", "-s", "/etc", "link"])
    with pytest.raises((InvalidRequest, NotFound)):
        await person.client.read_file(person.session_id, path)


async def test_an_ended_session_is_gone_and_its_container_too(new_person, server):
    person = await new_person()
    details = await person.client.session(person.session_id)
    await person.client.end_session(person.session_id)

    async def container_runs() -> bool:
        return details.container_id in server.containers()

    await wait_until(container_runs, lambda runs: not runs)
    again = await person.client.login(person.email, PASSWORD)
    assert again.session_id != person.session_id
    person.login = again


async def test_many_logins_at_once_with_fewer_slots_than_users(new_person, server, admin):
    emails = [f"crowd{number}@example.com" for number in range(8)]
    for email in emails:
        await admin.create_user(email, PASSWORD)
    clients = [AsyncClient(server.url, timeout_seconds=90) for _ in emails]

    async def work(client: AsyncClient, email: str) -> str:
        login = await client.login(email, PASSWORD)
        await client.exec(login.session_id, ["sh", "-c", f"echo {email} > me"])
        return (await client.read_file(login.session_id, "me")).decode().strip()

    answers = await asyncio.gather(
        *(work(client, email) for client, email in zip(clients, emails, strict=True))
    )
    assert answers == emails
    for client in clients:
        for session in await client.sessions():
            await client.end_session(session.session_id)
        await client.close()
