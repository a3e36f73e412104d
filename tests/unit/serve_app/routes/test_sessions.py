"""Sessions over HTTP: opening, details, vetoes, state, sleep and events."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from actors.core.quotas import Quotas
from actors.core.records.idleness import Idleness
from coditect import NotFound
from tests.support.problems import is_problem
from tests.support.waiting import wait_until


async def test_a_session_becomes_ready_and_is_listed(rig, ada, session_id):
    ready = await wait_until(
        lambda: ada.session(session_id), lambda s: s.container_status == "ready", 10
    )
    assert ready.status == "ready"
    containers = (await rig.http(ada).get("/api/v1/containers")).json()["containers"]
    assert [container["container_id"] for container in containers] == [ready.container_id]
    assert "secret" not in json.dumps(containers)


async def test_a_list_says_what_each_session_is_doing(rig, ada, session_id):
    await wait_until(lambda: ada.session(session_id), lambda s: s.status == "ready")

    async def life() -> str | None:
        return (await ada.sessions())[0].life

    assert await life() == "active"
    owner = await rig.ledger.session(session_id)
    await rig.actor_of(session_id, owner.owner_actor_id).close()
    await rig.ledger.passivate(await rig.ledger.session(session_id))
    # For `attach_ttl` after its start, the table takes everybody for attached.
    await wait_until(life, lambda seen: seen == "at_rest")
    async with await ada.terminal(session_id, "main"):
        await wait_until(life, lambda seen: seen == "attached")
    await ada.hibernate(session_id)
    assert await life() == "active"
    owner = await rig.ledger.session(session_id)
    await rig.actor_of(session_id, owner.owner_actor_id).close()
    await rig.ledger.passivate(owner)
    assert await life() == "asleep"
    assert (await ada.session(session_id)).life is None


async def test_sessions_have_names_and_a_limit(rig, ada):
    first = await ada.open_session("work")
    assert (await ada.open_session("work")).session_id == first.session_id
    http = rig.http(ada)
    rig.pool.quotas = Quotas(sessions=2)
    is_problem(
        await http.post("/api/v1/sessions", json={"name": "third"}), 429, "too_many_requests"
    )
    is_problem(await http.post("/api/v1/sessions", json={"name": "../x"}), 422)


async def test_sessions_opened_at_once_keep_to_the_limit(rig, ada):
    rig.pool.quotas = Quotas(sessions=3)
    http, before = rig.http(ada), len(await ada.sessions())
    answers = await asyncio.gather(
        *(http.post("/api/v1/sessions", json={"name": f"s{number}"}) for number in range(8))
    )
    made = [answer.status_code for answer in answers]
    assert (made.count(201), made.count(429)) == (3 - before, 5 + before)
    assert len(await ada.sessions()) == 3


async def test_details_show_why_a_session_is_awake_and_until_when(rig, ada, session_id):
    await wait_until(lambda: ada.session(session_id), lambda s: s.status == "ready")
    idle = (await ada.session(session_id)).idle
    assert (idle.awake, idle.sleeps_at, idle.hibernate_after) == (True, None, 1800.0)
    reported = Idleness(session_id=session_id, signals=("clients",), sleeps_at=5e9, updated_at=1.0)
    await rig.ledger.record_idleness(reported)
    idle = (await ada.session(session_id)).idle
    assert (idle.awake, idle.signals, idle.sleeps_at) == (False, ["clients"], 5e9)
    assert (await ada.sessions())[0].idle is None
    await ada.hibernate(session_id)
    assert (await ada.session(session_id)).idle is None


async def test_a_veto_is_kept_published_and_taken_back(rig, ada, session_id):
    before = rig.deps.clock.now()
    idle = await ada.keep_awake(session_id, 3600)
    assert before + 3600 <= idle.keep_awake_until <= rig.deps.clock.now() + 3600
    await rig.ledger.record_idleness(Idleness(session_id=session_id, sleeps_at=before + 10))
    assert (await rig.ledger.idleness(session_id)).keep_awake_until == idle.keep_awake_until
    longer = await ada.keep_awake(session_id, 7200)
    assert longer.sleeps_at == longer.keep_awake_until
    reported = [each.data["keep_awake_until"] for each in rig.health.heard if each.type == "idle"]
    assert reported[-1] == longer.keep_awake_until
    back = await ada.keep_awake(session_id, 0)
    assert (back.keep_awake_until, back.sleeps_at) == (None, before + 10)


@pytest.mark.parametrize("seconds", [-1, 1e9, "long", None])
async def test_a_veto_for_an_absurd_time_is_refused(rig, ada, session_id, seconds):
    answer = await rig.http(ada).post(
        f"/api/v1/sessions/{session_id}/keep-awake", json={"seconds": seconds}
    )
    assert answer.status_code in {400, 422}


async def test_nobody_vetoes_for_somebody_else(rig, ada, session_id):
    grace = await rig.sign_in("grace@example.com")
    answer = await rig.http(grace).post(
        f"/api/v1/sessions/{session_id}/keep-awake", json={"seconds": 60}
    )
    assert answer.status_code == 404
    await grace.close()


async def test_the_workspace_state_is_patched_once_for_a_key(rig, ada, session_id):
    changed = await ada.patch_workspace_state(session_id, {"open": ["a"], "layout": {"x": 1}})
    assert changed.workspace_state["open"] == ["a"]
    http = rig.http(ada, headers={"idempotency-key": "the-same"})
    url = f"/api/v1/sessions/{session_id}"
    for _ in range(2):
        answer = await http.patch(url, json={"workspace_state": {"open": None}})
        assert "open" not in answer.json()["workspace_state"]
    is_problem(await http.patch(url, json={"workspace_state": ["open"]}), 422)
    bad_key = await rig.http(ada).patch(
        url, json={"workspace_state": {}}, headers={"idempotency-key": "a b"}
    )
    is_problem(bad_key, 400)


async def test_a_session_of_somebody_else_does_not_exist(rig, ada, session_id):
    async with await rig.sign_in("eve@example.com") as eve:
        for call in (
            eve.session(session_id),
            eve.exec(session_id, ["id"]),
            eve.tree(session_id),
            eve.read_file(session_id, "x"),
            eve.write_file(session_id, "x", b"x"),
            eve.hibernate(session_id),
            eve.end_session(session_id),
            eve.terminal(session_id, "main"),
        ):
            with pytest.raises(NotFound):
                await call


async def test_hibernating_keeps_files_and_work_wakes_it(ada, session_id):
    await ada.write_file(session_id, "kept", b"1")
    assert (await ada.hibernate(session_id)).status == "hibernated"
    assert await ada.read_file(session_id, "kept") == b"1"
    assert (await ada.session(session_id)).status == "ready"


async def test_a_call_finds_the_session_after_its_actor_died(rig, ada, session_id):
    await ada.write_file(session_id, "kept", b"1")
    dead = await rig.kill_actor(session_id)
    assert (await ada.session(session_id)).session_id == session_id
    assert await rig.owner(session_id) != dead
    assert await ada.read_file(session_id, "kept") == b"1"


async def test_a_call_finds_the_new_container(rig, ada, session_id):
    await ada.write_file(session_id, "kept", b"1")
    await rig.kill_container(session_id)
    assert await ada.read_file(session_id, "kept") == b"1"


async def test_a_launched_container_has_a_session_of_its_own(rig, ada, session_id):
    http = rig.http(ada, headers={"idempotency-key": "one"})
    first = await http.post("/api/v1/containers", json={})
    assert first.status_code == 201
    assert first.json()["session_id"] != session_id
    assert first.json()["container_id"]
    assert (await http.post("/api/v1/containers")).json() == first.json()


async def test_a_silent_session_actor_costs_its_caller_a_time_limit_only(rig, ada, session_id):
    owner = await rig.owner(session_id)
    rig.actors.silent.add(f"session-{owner}")
    rig.app.state.ingress.gateway._call_seconds = 0.3
    slow = asyncio.create_task(rig.http(ada).get(f"/api/v1/sessions/{session_id}"))
    assert (await rig.http(ada).get("/api/v1/auth/me")).status_code == 200
    assert not slow.done()
    is_problem(await slow, 504, "deadline_exceeded")


async def drained(socket) -> None:
    while True:
        await asyncio.wait_for(socket.recv(), 60)


async def test_events_go_on_when_the_node_has_another_broker(rig, ada, session_id):
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/events"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    async with connect(url, additional_headers=headers) as socket, asyncio.timeout(60):
        assert json.loads(await socket.recv())["type"] == "status"
        hub, attachments = rig.app.state.ingress.hub, rig.app.state.ingress.attachments
        assert (hub.sessions, len(attachments)) == (1, 1)
        rig.restart_health()
        await ada.write_file(session_id, "told", b"1")
        while (event := json.loads(await socket.recv()))["type"] != "saved":
            continue
        assert event["data"] == {"path": "told", "version": event["data"]["version"], "size": 1}

        async def attached() -> int:
            return rig.health.stats()["attached_sockets"]

        await wait_until(attached, lambda count: count == 1)


async def test_events_report_saves_and_the_end(rig, ada, session_id):
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/events"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    async with connect(url, additional_headers=headers) as socket:
        assert json.loads(await socket.recv())["type"] == "status"
        await ada.write_file(session_id, "told", b"1")
        async with asyncio.timeout(60):
            while (event := json.loads(await socket.recv()))["type"] != "saved":
                continue
        assert event["data"]["path"] == "told"
        await ada.end_session(session_id)
        with pytest.raises(ConnectionClosed) as closed:
            await drained(socket)
        assert closed.value.rcvd.code == 4410
