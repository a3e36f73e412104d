"""Programs by name: started once, read from any offset, signalled, waited for, lost with their container."""

from __future__ import annotations

import asyncio
import signal

import pytest

from actors.core.records.sessions import SessionPhase
from coditect import ApiError, Conflict, InvalidRequest, NotFound
from tests.support.waiting import wait_until


async def read(client, session_id, name, **options):
    pieces = [each async for each in client.process_output(session_id, name, **options)]
    return b"".join(each.data for each in pieces)


async def test_a_program_goes_on_and_what_it_prints_is_read_to_its_end(ada, session_id):
    script = "echo out; echo err >&2; sleep 0.3; echo late; exit 7"
    begun = await ada.start_process(session_id, "job", ["sh", "-c", script])
    assert (begun.state, begun.exit_code, begun.name) == ("running", None, "job")
    assert await read(ada, session_id, "job", follow=True) == b"out\nerr\nlate\n"
    ended = await ada.wait_for_process(session_id, "job")
    assert (ended.state, ended.exit_code, ended.end_offset) == ("exited", 7, 13)
    assert await read(ada, session_id, "job", offset=4) == b"err\nlate\n"
    assert (await ada.terminals(session_id)) == []
    await ada.end_process(session_id, "job")
    with pytest.raises(NotFound):
        await ada.process(session_id, "job")


async def test_the_same_request_starts_nothing_and_another_one_is_refused(ada, session_id):
    argv = ["sh", "-c", "echo x >> runs"]
    for _ in range(3):
        await ada.start_process(session_id, "once", argv, key="k-1")
        await ada.wait_for_process(session_id, "once")
    assert await ada.read_file(session_id, "runs") == b"x\n"
    with pytest.raises(Conflict):
        await ada.start_process(session_id, "once", ["true"])
    with pytest.raises(InvalidRequest) as reused:
        await ada.start_process(session_id, "once", ["true"], key="k-1")
    assert reused.value.code == "idempotency_key_reused"
    await ada.end_process(session_id, "once")
    await ada.start_process(session_id, "once", argv)
    await ada.wait_for_process(session_id, "once")
    assert await ada.read_file(session_id, "runs") == b"x\nx\n"


async def test_a_program_is_signalled_waited_for_and_listed_page_by_page(rig, ada, session_id):
    for name in ("a", "b", "c"):
        await ada.start_process(session_id, name, ["sleep", "60"])
    assert (await ada.wait_for_process(session_id, "b", timeout_seconds=0.1)).state == "running"
    await ada.signal_process(session_id, "b", "TERM")
    ended = await ada.wait_for_process(session_id, "b")
    assert (ended.state, ended.exit_code) == ("exited", -signal.SIGTERM)
    await ada.signal_process(session_id, "b", "TERM")  # it has ended: nothing
    states = {each.name: each.state async for each in ada.named_processes(session_id)}
    assert states == {"a": "running", "b": "exited", "c": "running"}
    url = f"/api/v1/sessions/{session_id}/processes"
    page = (await rig.http(ada).get(url, params={"named": "true", "limit": 2})).json()
    assert ([each["name"] for each in page["named"]], page["next"]) == (["a", "b"], "b")
    with pytest.raises(InvalidRequest, match="signal"):
        await ada.signal_process(session_id, "a", "NONE")


async def test_a_program_on_a_terminal_has_one_output_and_its_size(ada, session_id):
    argv = ["sh", "-c", "stty size; echo err >&2"]
    await ada.start_process(session_id, "t", argv, tty=(90, 33))
    assert await read(ada, session_id, "t", follow=True) == b"33 90\r\nerr\r\n"


async def test_a_program_whose_container_dies_is_lost_with_what_it_printed_kept(
    rig, ada, session_id
):
    await ada.start_process(session_id, "web", ["sh", "-c", "echo on; exec sleep 60"])

    async def printed():
        return (await ada.process(session_id, "web")).end_offset == 3

    await wait_until(printed, pause_seconds=0.05)
    following = asyncio.create_task(read(ada, session_id, "web", follow=True))
    await rig.kill_container(session_id)
    assert (await ada.exec(session_id, ["echo", "again"])).stdout == "again\n"
    found = await ada.process(session_id, "web")
    assert (found.state, found.exit_code) == ("lost", None)
    assert await asyncio.wait_for(following, 60) == b"on\n"
    assert await read(ada, session_id, "web") == b"on\n"
    # The request was carried out: it is started again under its name when that is free.
    same = ["sh", "-c", "echo on; exec sleep 60"]
    assert (await ada.start_process(session_id, "web", same)).state == "lost"
    await ada.end_process(session_id, "web")
    assert (await ada.start_process(session_id, "web", same)).state == "running"
    assert [each.name for each in await ada.terminals(session_id)] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "a/b", "argv": ["true"]}, 400),
        ({"name": "", "argv": ["true"]}, 422),
        ({"name": "a", "argv": []}, 422),
        ({"name": "a", "argv": ["no-such-program"]}, 404),
        ({"name": "a", "argv": ["true"], "cwd": "nowhere"}, 400),
        ({"name": "a", "argv": ["true"], "tty": {"cols": 0}}, 422),
    ],
)
async def test_what_is_wrong_is_named(rig, ada, session_id, body, status):
    answer = await rig.http(ada).post(f"/api/v1/sessions/{session_id}/processes", json=body)
    assert answer.status_code == status, answer.text
    with pytest.raises(ApiError):
        await ada.process(session_id, "a")


async def test_one_that_is_ended_while_its_session_comes_up_does_not_run_on(
    rig, ada, session_id, monkeypatch
):
    await ada.start_process(session_id, "stays", ["sleep", "1000.0625"])
    gateway = rig.app.state.ingress.gateway
    view = gateway.view

    async def coming_up(session_id):
        return (await view(session_id)).model_copy(update={"phase": SessionPhase.RECOVERING})

    monkeypatch.setattr(gateway, "view", coming_up)
    await ada.end_process(session_id, "stays")
    monkeypatch.undo()
    commands = [each.command for each in await ada.processes(session_id)]
    assert not [command for command in commands if command == "sleep 1000.0625"]
