"""Programs that run in a session, over HTTP."""

from __future__ import annotations

import asyncio
import json
import os

import pytest

from coditect import InvalidRequest
from tests.support.waiting import wait_until


async def test_exec_returns_all(rig, ada, session_id):
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
    await wait_until(runs, pause_seconds=0.02)
    call.cancel()
    await asyncio.wait({call})
    await wait_until(ended, pause_seconds=0.02)
