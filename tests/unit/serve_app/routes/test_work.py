"""Files and programs over HTTP."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile

import pytest

from coditect import InvalidRequest
from tests.support.problems import is_problem
from tests.support.waiting import wait_until


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
