"""The terminals of a session over HTTP."""

from __future__ import annotations

from tests.support.problems import is_problem


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
