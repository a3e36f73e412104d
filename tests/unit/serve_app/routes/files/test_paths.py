"""Paths over HTTP: moves, removals, directories, and names of any kind."""

from __future__ import annotations

from tests.support.problems import is_problem


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
