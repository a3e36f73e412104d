"""Sessions, files, programs, and every kind of bad input, over HTTP."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from actors.core.errors.base import Unavailable
from actors.core.quotas import Quotas
from actors.core.records.idleness import Idleness
from cluster.codi.terminal_protocol import check_name
from cluster.store.layers.workspaces.saves import LEASE_SECONDS, place_of
from coditect import AsyncClient, InvalidRequest, NotFound, PreconditionFailed
from tests.fakes.ingress_fakes import EMAIL, PASSWORD
from tests.support.promlint import lint
from tests.support.waiting import wait_until


def is_problem(answer: httpx.Response, status: int, code: str | None = None) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail", "code", "instance"} <= document.keys()
    assert code is None or document["code"] == code
    assert "Traceback" not in answer.text
    return document


# ---- sessions ---------------------------------------------------------------------------------------


async def test_a_session_becomes_ready_and_is_listed(rig, ada, session_id):
    ready = await wait_until(
        lambda: ada.session(session_id), lambda s: s.container_status == "ready", 10
    )
    assert ready.status == "ready"
    containers = (await rig.http(ada).get("/api/v1/containers")).json()["containers"]
    assert [container["container_id"] for container in containers] == [ready.container_id]
    assert "secret" not in json.dumps(containers)


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


async def test_details_say_why_a_session_is_awake_and_until_when(rig, ada, session_id):
    await wait_until(lambda: ada.session(session_id), lambda s: s.status == "ready", 20)
    idle = (await ada.session(session_id)).idle
    assert (idle.awake, idle.sleeps_at, idle.hibernate_after) == (True, None, 1800.0)
    told = Idleness(session_id=session_id, signals=("clients",), sleeps_at=5e9, updated_at=1.0)
    await rig.ledger.tell_idleness(told)
    idle = (await ada.session(session_id)).idle
    assert (idle.awake, idle.signals, idle.sleeps_at) == (False, ["clients"], 5e9)
    assert (await ada.sessions())[0].idle is None
    await ada.hibernate(session_id)
    assert (await ada.session(session_id)).idle is None


async def test_a_veto_is_kept_told_and_taken_back(rig, ada, session_id):
    before = rig.deps.clock.now()
    idle = await ada.keep_awake(session_id, 3600)
    assert before + 3600 <= idle.keep_awake_until <= rig.deps.clock.now() + 3600
    await rig.ledger.tell_idleness(Idleness(session_id=session_id, sleeps_at=before + 10))
    assert (await rig.ledger.idleness(session_id)).keep_awake_until == idle.keep_awake_until
    longer = await ada.keep_awake(session_id, 7200)
    assert longer.sleeps_at == longer.keep_awake_until
    owner = rig.actor_of(session_id, await rig.owner(session_id))
    told = [e.data for e in await owner.events(session_id, None, 0, 0) if e.type == "idle"]
    assert told[-1]["keep_awake_until"] == longer.keep_awake_until
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


# ---- files and programs -----------------------------------------------------------------------------


async def test_a_save_has_a_receipt_and_a_condition(ada, session_id):
    first = await ada.write_file(session_id, "dir/naïve name", b"one")
    assert (first.size, first.durable) == (3, True)
    second = await ada.write_file(session_id, "dir/naïve name", b"two", if_match=first.etag)
    assert second.version > first.version
    with pytest.raises(PreconditionFailed):
        await ada.write_file(session_id, "dir/naïve name", b"three", if_match=first.etag)
    assert await ada.read_file(session_id, "dir/naïve name") == b"two"


async def test_the_same_save_again_gets_the_same_receipt(ada, session_id):
    first = await ada.write_file(session_id, "a", b"1", key="k1")
    again = await ada.write_file(session_id, "a", b"1", key="k1")
    assert again == first


async def test_two_saves_at_once_under_one_key_write_once(rig, ada, session_id):
    http = rig.http(ada, headers={"idempotency-key": "k1"})
    url = f"/api/v1/sessions/{session_id}/files/a"
    answers = await asyncio.gather(
        *(http.put(url, content=b"1", headers={"if-none-match": "*"}) for _ in range(4))
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.text for answer in answers}) == 1


async def test_a_save_whose_server_died_before_its_commit_gets_its_receipt(rig, ada, session_id):
    first = await ada.write_file(session_id, "a", b"old")
    place = place_of(session_id, "k1")
    await rig.ledger.begin_save(place, "token of the dead", "a")
    route = await rig.app.state.ingress.gateway.awake_route(session_id)
    await rig.deps.codi.put_file(route, "a", b"new", if_match=first.etag)

    class Later:
        def now(self) -> float:
            return time.time() + LEASE_SECONDS

    rig.ledger._clock = Later()
    http = rig.http(ada, headers={"idempotency-key": "k1", "if-match": first.etag})
    url = f"/api/v1/sessions/{session_id}/files/a"
    again = await http.put(url, content=b"new")
    assert again.status_code == 200
    assert (await http.put(url, content=b"new")).json() == again.json()
    is_problem(await http.put(url, content=b"NEW"), 422, "idempotency_key_reused")


async def test_a_refused_save_leaves_its_key_free(rig, ada, session_id):
    await ada.write_file(session_id, "a", b"old")
    http = rig.http(ada, headers={"idempotency-key": "k1"})
    url = f"/api/v1/sessions/{session_id}/files/a"
    refused = await http.put(url, content=b"x", headers={"if-none-match": "*"})
    is_problem(refused, 412, "precondition_failed")
    assert (await http.put(url, content=b"y")).status_code == 200


async def test_a_deletion_whose_answer_was_lost_is_not_made_again(rig, ada, session_id):
    await ada.write_file(session_id, "a", b"1")
    tries = 0

    async def lost(*_: object, **__: object) -> None:
        nonlocal tries
        tries += 1
        raise Unavailable("the container", "its answer was lost")

    rig.deps.codi.delete = lost
    answer = await rig.http(ada).delete(f"/api/v1/sessions/{session_id}/files/a")
    is_problem(answer, 503, "unavailable")
    assert tries == 1


async def test_a_save_repeated_late_is_not_refused_and_overwrites_nothing(rig, ada, session_id):
    http = rig.http(ada, headers={"idempotency-key": "k1"})
    url = f"/api/v1/sessions/{session_id}/files/"
    first = await http.put(url + "a", content=b"1", headers={"if-none-match": "*"})
    assert first.status_code == 200
    await ada.write_file(session_id, "a", b"newer")
    again = await http.put(url + "a", content=b"1", headers={"if-none-match": "*"})
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["etag"] == first.headers["etag"]
    for path, content in (("a", b"2"), ("a", b"longer"), ("b", b"1")):
        refused = await http.put(url + path, content=content)
        is_problem(refused, 422, "idempotency_key_reused")
    assert await ada.read_file(session_id, "a") == b"newer"
    with pytest.raises(NotFound):
        await ada.read_file(session_id, "b")


async def test_a_part_of_a_file_and_one_that_has_not_changed(rig, ada, session_id):
    receipt = await ada.write_file(session_id, "f", b"0123456789")
    http = rig.http(ada)
    url = f"/api/v1/sessions/{session_id}/files/f"
    part = await http.get(url, headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert part.headers["content-range"] == "bytes 2-4/10"
    same = await http.get(url, headers={"if-none-match": receipt.etag})
    assert same.status_code == 304
    whole = await http.get(url)
    assert whole.headers["content-security-policy"].startswith("sandbox")
    assert whole.headers["x-content-type-options"] == "nosniff"


async def test_files_are_moved_removed_and_directories_made(rig, ada, session_id):
    http = rig.http(ada)
    base = f"/api/v1/sessions/{session_id}"
    await ada.write_file(session_id, "a", b"1")
    assert (await http.post(f"{base}/directories", json={"path": "d/e"})).status_code == 201
    assert (await http.post(f"{base}/directories", json={"path": "d/e"})).status_code == 200
    move = {"source": "a", "target": "d/e/b"}
    assert (await http.post(f"{base}/move", json=move)).status_code == 204
    assert await ada.read_file(session_id, "d/e/b") == b"1"
    is_problem(await http.post(f"{base}/move", json=move), 404)
    is_problem(await http.delete(f"{base}/files/d"), 400)
    await ada.delete_file(session_id, "d", recursive=True)
    assert await ada.tree(session_id) == []


async def test_odd_names_arrive_as_they_are(ada, session_id):
    names = {"with space", "new\nline", "ünïcode", "-dash", "*", "%41", "a" * 255}
    for name in names:
        await ada.write_file(session_id, name, name.encode())
        assert await ada.read_file(session_id, name) == name.encode()
    assert {entry.name for entry in await ada.tree(session_id)} == names
    await ada.write_file(session_id, "files/tree", b"deep")
    assert await ada.read_file(session_id, "files/tree") == b"deep"
    assert [entry.name for entry in await ada.tree(session_id, "files")] == ["tree"]


async def test_paths_out_of_the_workspace_are_refused(rig, ada, session_id):
    await ada.exec(session_id, ["ln", "-s", "/etc", "link"])
    http = rig.http(ada)
    for path in ("a/../../b", "/etc/passwd", "link/passwd", "..%2f..%2fetc/passwd", "%00", ""):
        answer = await http.get(f"/api/v1/sessions/{session_id}/files/{path}")
        assert answer.status_code in {400, 404}, path
        assert b"root:" not in answer.content


async def test_a_directory_is_had_as_a_tar_archive_by_its_owner(rig, ada, session_id):
    await ada.write_file(session_id, "my src/a.py", b"print()")
    http = rig.http(ada)
    answer = await http.get(f"/api/v1/sessions/{session_id}/archive/my%20src")
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["content-disposition"].endswith("my%20src.tar")
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as found:
        assert found.extractfile("my src/a.py").read() == b"print()"
    whole = await http.get(f"/api/v1/sessions/{session_id}/archive")
    with tarfile.open(fileobj=io.BytesIO(whole.content)) as found:
        assert "workspace/my src/a.py" in found.getnames()
    is_problem(await http.get(f"/api/v1/sessions/{session_id}/archive/none"), 404)
    is_problem(await http.get(f"/api/v1/sessions/{session_id}/archive/%2e%2e/x"), 400)
    is_problem(await rig.http().get(f"/api/v1/sessions/{session_id}/archive/my%20src"), 401)
    await rig.add_user("eve@example.com")
    async with await rig.sign_in("eve@example.com") as eve:
        theirs = rig.http(eve)
        is_problem(await theirs.get(f"/api/v1/sessions/{session_id}/archive/"), 404)


async def test_a_large_file_streams_through(ada, session_id):
    block = bytes(range(256)) * 1024

    async def content():
        for _ in range(64):
            yield block

    receipt = await ada.write_file(session_id, "large", content())
    assert receipt.size == 64 * len(block)
    seen = 0
    async for part in ada.stream_file(session_id, "large"):
        seen += len(part)
    assert seen == receipt.size


async def test_a_file_past_the_limit_is_refused_announced_or_not(rig, ada, session_id):
    rig.app.state.ingress.deps.settings.__dict__["max_file"] = 1000
    http = rig.http(ada)
    url = f"/api/v1/sessions/{session_id}/files/f"
    is_problem(await http.put(url, content=b"x" * 1001), 413, "payload_too_large")

    async def unannounced():
        for _ in range(11):
            yield b"x" * 100

    is_problem(await http.put(url, content=unannounced()), 413, "payload_too_large")
    assert await ada.tree(session_id) == []


async def test_exec_tells_all(rig, ada, session_id):
    result = await ada.exec(session_id, ["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert (await ada.exec(session_id, ["sleep", "9"], timeout_seconds=0.2)).timed_out
    with pytest.raises(InvalidRequest):
        await ada.exec(session_id, [])
    processes = (await rig.http(ada).get(f"/api/v1/sessions/{session_id}/processes")).json()
    assert processes["processes"]


async def test_exec_takes_any_bytes_and_ends_as_documented(ada, session_id):
    strange = os.fsdecode(b"caf\xe9")
    result = await ada.exec(session_id, ["sh", "-c", 'printf %s "$1" | od -An -tx1', "sh", strange])
    assert result.stdout.split() == ["63", "61", "66", "e9"]
    assert (await ada.exec(session_id, ["sh", "-c", "kill -9 $$"])).exit_code == -9
    for wrong in ("ls", b"ls", [1], [b"ls"]):
        with pytest.raises(TypeError):
            await ada.exec(session_id, wrong)


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"argv": "ls"}, 422, "argv"),
        ({"argv": []}, 422, "argv"),
        ({"argv": ["a\0"]}, 422, "argv.0"),
        ({"argv": ["true", "\ud800"]}, 422, "argv.1"),
        ({"argv": ["true"], "cwd": "\0"}, 422, "cwd"),
        ({"argv": ["true"], "env": {"A=B": "x"}}, 422, "env"),
        ({"argv": ["true"], "stdin": "\ud800"}, 422, "stdin"),
        ({"argv": ["true"], "cwd": "none"}, 400, "cwd"),
        ({"argv": ["true", "x" * 200_000]}, 400, "argv"),
    ],
)
async def test_exec_names_what_is_wrong(rig, ada, session_id, body, status, named):
    content = json.dumps(body)
    answer = await rig.http(ada).post(
        f"/api/v1/sessions/{session_id}/exec",
        content=content,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == status, answer.text
    assert named in json.dumps(answer.json().get("errors", answer.json().get("field")))


async def test_a_program_is_killed_when_its_caller_goes(rig, ada, session_id):
    http = rig.http(ada)
    url = f"/api/v1/sessions/{session_id}"

    async def runs() -> bool:
        listed = (await http.get(f"{url}/processes")).json()["processes"]
        return any(process["command"] == "sleep 86402" for process in listed)

    async def ended() -> bool:
        return not await runs()

    body = {"argv": ["sleep", "86402"], "timeout_seconds": 3600}
    call = asyncio.create_task(http.post(f"{url}/exec", json=body))
    await wait_until(runs, timeout_seconds=10, pause_seconds=0.02)
    call.cancel()
    await asyncio.wait({call})
    await wait_until(ended, timeout_seconds=10, pause_seconds=0.02)


async def test_terminals_are_listed_started_and_ended(rig, ada, session_id):
    http = rig.http(ada)
    url = f"/api/v1/sessions/{session_id}/terminals"
    assert (await http.post(url, json={"name": "t", "cols": 99})).status_code == 201
    assert (await http.post(url, json={"name": "t"})).status_code == 200
    assert [(t.name, t.cols) for t in await ada.terminals(session_id)] == [("t", 99)]
    is_problem(await http.post(url, json={"name": "t", "cols": 0}), 422)
    assert (await http.delete(f"{url}/t")).status_code == 204
    assert await ada.terminals(session_id) == []
    is_problem(await http.delete(f"{url}/t"), 404)


# ---- bad input --------------------------------------------------------------------------------------

LOGIN = "/api/v1/auth/login"
JSON = {"content-type": "application/json"}


BAD_BODIES = [
    (b"{not json", 400, "invalid_json"),
    (b"\xff\xfe\xfa", 400, "invalid_json"),
    (b"[" * 100_000, 400, "invalid_json"),
    (b'"a string"', 422, "invalid_argument"),
    (b"", 422, "invalid_argument"),
    (b'{"email": 1, "password": []}', 422, "invalid_argument"),
    (b'{"email": "a@b.c", "password": "p", "extra": 1}', 422, "invalid_argument"),
    (b'{"email": "a@b.c", "password": "\\ud800"}', 422, "invalid_argument"),
    (b'{"email": "a@b.c", "password": "' + b"x" * (2 << 20) + b'"}', 413, "payload_too_large"),
]


async def test_bad_bodies_get_a_problem_document(rig):
    http = rig.http()
    for body, status, code in BAD_BODIES:
        is_problem(await http.post(LOGIN, content=body, headers=JSON), status, code)


async def test_a_body_past_the_limit_is_refused_while_it_arrives(rig):
    sent = 0

    async def endless():
        nonlocal sent
        for _ in range(300):
            sent += 1 << 16
            yield b" " * (1 << 16)

    answer = await rig.http().post(LOGIN, content=endless(), headers=JSON)
    is_problem(answer, 413, "payload_too_large")


async def test_what_was_sent_is_not_repeated(rig):
    answer = await rig.http().post(LOGIN, json={"email": "a@b.c", "password": {"x": "s3cret"}})
    assert "s3cret" not in answer.text


UNKNOWN = [
    ("GET", "/api/v1/sessions/s-unknown", 404),
    ("GET", "/api/v1/sessions/%00", 404),
    ("GET", "/api/v1/sessions/%ff%fe", 404),
    ("GET", "/api/v1/nothing", 404),
    ("GET", "/api/v1/sessions/", 404),
    ("DELETE", "/api/v1/auth/me", 405),
    ("PUT", "/api/v1/sessions", 405),
]


async def test_unknown_things_are_problem_documents(rig, ada):
    http = rig.http(ada)
    for method, path, status in UNKNOWN:
        is_problem(await http.request(method, path), status)


async def test_an_unexpected_error_has_an_id_and_no_traceback(rig, ada, monkeypatch, capsys):
    async def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(rig.app.state.ingress.gateway, "view", broken)
    answer = await rig.http(ada).get(f"/api/v1/sessions/{(await ada.sessions())[0].session_id}")
    document = is_problem(answer, 500, "internal")
    assert document["request_id"] == answer.headers["x-request-id"]
    assert "ZeroDivision" not in answer.text
    assert document["request_id"] in capsys.readouterr().out


async def test_a_silent_session_actor_costs_its_caller_a_time_limit_only(rig, ada, session_id):
    owner = await rig.owner(session_id)
    rig.actors.silent.add(f"session-{owner}")
    rig.app.state.ingress.gateway._call_seconds = 0.3
    slow = asyncio.create_task(rig.http(ada).get(f"/api/v1/sessions/{session_id}"))
    assert (await rig.http(ada).get("/api/v1/auth/me")).status_code == 200
    assert not slow.done()
    is_problem(await slow, 504, "deadline_exceeded")


async def test_absurd_terminal_parameters_are_refused(rig, ada, session_id):
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/terminals/main/ws"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    for query in ("cols=0&rows=24", "cols=80&rows=100000", "offset=-1", "offset=x", "client=%00"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{url}?{query}", additional_headers=headers)
        assert refused.value.response.status_code == 400, query
        assert json.loads(refused.value.response.body)["code"] == "invalid_argument"


async def drained(socket) -> None:
    while True:
        await asyncio.wait_for(socket.recv(), 10)


async def test_bad_frames_close_the_socket_with_a_reason(rig, ada, session_id):
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/terminals/main/ws"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    resize = '{"type": "resize", "cols": 0, "rows": 5}'
    for frame in ("{not json", "[]", resize, b"x" * ((1 << 20) + 1), "[" * 60_000):
        async with connect(url, additional_headers=headers) as socket:
            assert json.loads(await socket.recv())["type"] == "attached"
            await socket.send(frame)
            with pytest.raises(ConnectionClosed) as closed:
                await drained(socket)
        assert closed.value.rcvd.code == 4400
        assert closed.value.rcvd.reason


async def test_unknown_frames_are_ignored(rig, ada, session_id):
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/terminals/main/ws"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    async with connect(url, additional_headers=headers) as socket, asyncio.timeout(10):
        await socket.send('{"type": "from the future"}')
        await socket.send(b"echo fi''ne\r")
        shown = b""
        while b"fine\r\n" not in shown:
            frame = await socket.recv()
            shown += frame if isinstance(frame, bytes) else b""


# ---- operators --------------------------------------------------------------------------------------


async def test_health_names_every_component_and_is_503_when_a_vital_one_is_down(rig):
    http = rig.http()
    good = await http.get("/api/admin/health")
    assert (good.status_code, good.json()["status"]) == (200, "ok")
    assert {
        "store",
        "pool",
        "supervisor",
        "health_checker",
        "journal",
        "archive",
        "gcs",
        "serve",
        "runtime",
        "disk",
    } == set(good.json()["components"])
    del rig.actors.objects["pool-node-1"]
    bad = await http.get("/api/admin/health")
    assert (bad.status_code, bad.json()["status"]) == (503, "down")
    assert bad.json()["components"]["pool"]["status"] == "down"


async def test_a_replica_is_alive_whatever_is_down_and_ready_when_it_can_serve(rig):
    http = rig.http()
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "down": []})
    assert ready.headers["cache-control"] == "no-store"
    async with AsyncClient(rig.url) as client:
        assert await client.is_alive()
        assert await client.is_ready()
        del rig.actors.objects["pool-node-1"]
        assert (await http.get("/healthz")).status_code == 200
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "down", "down": ["pool"]})
        assert not await client.is_ready()


async def test_metrics_have_the_adrs_names_and_parse(rig, ada, session_id):
    await ada.session(session_id)
    answer = await rig.http().get("/api/admin/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {
        "container_launch_time",
        "session_recovery_time",
        "active_containers",
        "pool_utilization",
        "api_response_time",
        "error_rate",
    } <= families.keys()
    routes = {s.labels["route"] for s in families["api_response_time"].samples}
    assert "/api/v1/sessions/{session_id}" in routes


async def test_metrics_pass_the_linter_of_prometheus(rig, ada, session_id):
    await ada.session(session_id)
    text = (await rig.http().get("/api/admin/metrics")).text
    assert lint(text) == []
    if promtool := shutil.which("promtool"):
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


async def test_metrics_are_for_administrators_when_others_can_reach_the_server(rig, ada, admin):
    rig.app.state.ingress.deps.settings.__dict__["public_url"] = "https://example.com"
    assert (await rig.http().get("/api/admin/metrics")).status_code == 401
    assert (await rig.http(ada).get("/api/admin/metrics")).status_code == 403
    assert (await rig.http(admin).get("/api/admin/metrics")).status_code == 200


async def test_an_operator_finds_the_actor_of_a_session_by_the_name_it_has_in_ray(
    rig, admin, session_id
):
    [told] = [each async for each in admin.all_sessions() if each.session_id == session_id]
    assert told.actor == f"session-{await rig.owner(session_id)}"
    assert told.user_id is not None


async def test_administrators_see_all_sessions_and_containers(rig, ada, admin, session_id):
    http = rig.http(admin)
    listed = (await http.get("/api/admin/sessions?limit=1")).json()
    rest = (await http.get(f"/api/admin/sessions?after={listed['next']}")).json()
    assert session_id in {s["session_id"] for s in listed["sessions"] + rest["sessions"]}
    assert (await http.get("/api/admin/containers")).status_code == 200
    assert (await http.get("/api/admin/overview")).json()["sessions"]
    is_problem(await rig.http(ada).get("/api/admin/sessions"), 403, "permission_denied")


async def test_the_openapi_document_is_whole(rig):
    document = (await rig.http().get("/api/openapi.json")).json()
    operations = [
        (path, method, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    assert len(operations) > 30
    for path, method, operation in operations:
        assert operation["description"], (path, method)
        for status, response in operation["responses"].items():
            if int(status) >= 400 and path not in {"/api/admin/health", "/readyz"}:
                assert list(response["content"]) == ["application/problem+json"], (path, status)
    schemas = document["components"]["schemas"]
    longest = schemas["KeepAwake"]["properties"]["seconds"]["maximum"]
    assert longest == rig.deps.settings.max_keep_awake
    pattern = schemas["NewTerminal"]["properties"]["name"]["pattern"]
    for name in ("main", "a b", "...", "x" * 64):
        assert re.search(pattern, name)
        assert check_name(name) == name
    for name in ("", ".", "..", "a/b", "x" * 65):
        assert not re.search(pattern, name)
    assert {"HTTPBearer", "APIKeyCookie"} <= document["components"]["securitySchemes"].keys()


# ---- events and pages -------------------------------------------------------------------------------


async def test_events_tell_of_saves_and_the_end(rig, ada, session_id):
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/events"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    async with connect(url, additional_headers=headers) as socket:
        assert json.loads(await socket.recv())["type"] == "status"
        await ada.write_file(session_id, "told", b"1")
        async with asyncio.timeout(10):
            while (event := json.loads(await socket.recv()))["type"] != "saved":
                continue
        assert event["data"]["path"] == "told"
        await ada.end_session(session_id)
        with pytest.raises(ConnectionClosed) as closed:
            await drained(socket)
        assert closed.value.rcvd.code == 4410


async def test_pages_are_served_with_safe_headers_and_nothing_else_is(rig):
    static = rig.deps.settings.data_dir / "static"
    (static / "assets").mkdir(parents=True)
    (static / "login.html").write_text("<h1>in</h1>")
    (static / "workspace.html").write_text("<h1>work</h1>")
    (static / "assets" / "a-123.js").write_text("1")
    (static / "assets" / "a-123.js.gz").write_bytes(b"\x1f\x8bpacked")
    (rig.deps.settings.data_dir / "secret").write_text("s3cret")
    http = rig.http()
    page = await http.get("/")
    assert page.text == "<h1>in</h1>"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-cache"
    same = await http.get("/", headers={"if-none-match": page.headers["etag"]})
    assert same.status_code == 304
    assert (await http.get("/workspaces/s-any")).text == "<h1>work</h1>"
    plain = await http.get("/static/assets/a-123.js", headers={"accept-encoding": "identity"})
    assert plain.text == "1"
    assert "immutable" in plain.headers["cache-control"]
    packed = http.build_request("GET", "/static/assets/a-123.js")
    packed.headers["accept-encoding"] = "gzip"
    assert (await http.send(packed, stream=True)).headers["content-encoding"] == "gzip"
    for path in ("%2e%2e/secret", "..%2fsecret"):
        is_problem(await http.get(f"/static/{path}"), 400)
    for path in ("../secret", "%00", "assets", "nothing"):
        answer = await http.get(f"/static/{path}")
        assert "s3cret" not in answer.text
        assert answer.status_code in {400, 404}


async def test_a_person_gets_the_page_they_meant_and_a_program_a_problem(rig):
    static = rig.deps.settings.data_dir / "static"
    static.mkdir(parents=True, exist_ok=True)
    (static / "not-found.html").write_text('<a href="/">home</a>')
    person = rig.http(headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    program = rig.http(headers={"accept": "application/json"})
    for path, page in (
        ("/admin/", "/admin"),
        ("/workspaces/s-1/", "/workspaces/s-1"),
        ("/login", "/"),
        ("/login/", "/"),
        ("/login?next=%2Fadmin", "/?next=%2Fadmin"),
        ("/workspaces", "/"),
        ("/workspaces/", "/"),
    ):
        answer = await person.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, page)
        assert (await program.get(path)).headers["location"] == page
    for path in (
        "/nothing",
        "/admin/users",
        "/workspaces/s-1/x",
        "/static/none",
    ):
        answer = await person.get(path)
        assert (answer.status_code, answer.text) == (404, '<a href="/">home</a>')
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        is_problem(await program.get(path), 404, "not_found")
        is_problem(await rig.http().get(path), 404, "not_found")
        is_problem(await person.post(path), 404 if "static" not in path else 405)
    is_problem(await person.get("/api/v1/nothing"), 404, "not_found")
    (static / "not-found.html").unlink()
    is_problem(await person.get("/nothing"), 404, "not_found")


async def test_a_login_from_many_at_once_all_succeed(rig):
    emails = [f"crowd{number}@example.com" for number in range(8)]
    for email in emails:
        await rig.add_user(email)
    http = rig.http()
    answers = await asyncio.gather(
        *(http.post(LOGIN, json={"email": email, "password": PASSWORD}) for email in emails)
    )
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json()["session_id"] for answer in answers}) == 8
    assert EMAIL not in emails
