"""The audit trail has people's deeds, under names that can be asked for, in pages."""

from __future__ import annotations

import httpx
import pytest

from coditect import Forbidden, NotFound
from serve_app.auth.audited import action_of, result_of
from serve_app.auth.sign_in import Visitor
from tests.support.waiting import wait_until

VISITOR = Visitor("127.0.0.1", "")
SESSION = "/api/v1/sessions/{session_id}"


@pytest.mark.parametrize(
    ("method", "template", "status", "refused", "action"),
    [
        ("POST", f"{SESSION}/exec", 200, False, "exec"),
        ("POST", f"{SESSION}/exec", 0, False, "exec"),
        ("PUT", f"{SESSION}/files/{{path:any_path}}", 200, False, "file.save"),
        ("PUT", f"{SESSION}/files/{{path:any_path}}", 507, False, "file.save"),
        ("GET", f"{SESSION}/files/{{path:any_path}}", 200, False, None),
        ("GET", f"{SESSION}/files/{{path:any_path}}", 404, True, "access.refused"),
        ("GET", f"{SESSION}/files/{{path:any_path}}", 404, False, None),
        ("POST", f"{SESSION}/something-new", 200, False, "request.post"),
        ("DELETE", SESSION, 204, False, None),
        ("POST", "/api/v1/auth/ticket", 201, False, None),
        ("PATCH", "/api/admin/users/{user_id}", 200, False, None),
        ("PATCH", "/api/admin/users/{user_id}", 403, False, "access.refused"),
        ("GET", "/api/admin/audit", 200, False, "admin.read"),
        ("GET", "/api/admin/audit", 403, False, "access.refused"),
        ("GET", "/api/admin/audit", 422, False, None),
    ],
)
def test_requests_have_names(method, template, status, refused, action):
    assert action_of(method, template, status, refused=refused) == action


@pytest.mark.parametrize(
    ("status", "refused", "result"),
    [(200, False, "ok"), (304, False, "ok"), (0, False, "gone"), (403, False, "refused"),
     (404, True, "refused"), (404, False, "failed"), (507, False, "failed")],
)  # fmt: skip
def test_a_request_ends_in_one_of_four_ways(status, refused, result):
    assert result_of(status, refused=refused) == result


async def test_what_people_do_is_reported_with_the_fields_of_the_requirement(
    rig, ada, admin, session_id
):
    user_id = (await ada.me()).user_id
    await ada.write_file(session_id, "a.txt", b"a")
    await ada.exec(session_id, ["true"])
    await ada.hibernate(session_id)
    await ada.resume(session_id)
    first = ada.refresh_token
    await ada.refresh()
    await ada.refresh()
    with pytest.raises(Forbidden):
        await ada.overview()
    with pytest.raises(NotFound):
        await ada.session((await admin.sessions())[0].session_id)
    real = rig.deps.clock.now()
    rig.deps.clock.now = lambda: real + 100
    stolen = {"refresh_token": first}
    assert (await rig.http().post("/api/v1/auth/refresh", json=stolen)).status_code == 401
    del rig.deps.clock.now
    wanted = {
        "session.created", "container.launched", "login", "file.save", "exec", "session.hibernate",
        "session.hibernated", "session.resume", "session.resumed", "access.refused", "refresh.reuse",
    }  # fmt: skip

    async def names() -> set[str]:
        return {line["action"] for line in await admin.audit(1000, user_id=user_id)}

    await wait_until(names, lambda seen: wanted <= seen)
    refused = await admin.audit(user_id=user_id, action="access")
    assert len(refused) == 2
    assert {line["result"] for line in refused} == {"refused"}
    line = (await admin.audit(action="file", user_id=user_id))[0]
    assert set(line) == {
        "id", "timestamp", "user_id", "action", "resource", "ip_address", "user_agent", "result",
        "count",
    }  # fmt: skip
    assert line["resource"] == f"sessions/{session_id}/files/a.txt"
    assert line["ip_address"] == "127.0.0.1"

    async def looks() -> list[str]:
        return [line["resource"] for line in await admin.audit(action="admin.read")]

    assert await wait_until(looks, bool, 20) == ["/api/admin/audit"], "not every look"


async def test_the_trail_is_read_page_by_page_both_ways(rig, admin):
    http = rig.http(admin)

    async def page(**query) -> dict:
        answer: httpx.Response = await http.get("/api/admin/audit", params=query)
        assert answer.status_code == 200
        return answer.json()

    for number in range(7):
        await rig.app.state.ingress.sign_in.note(
            f"u{number % 2}", "user.test", f"r{number}", VISITOR
        )
    seen, query = [], {"limit": 2, "action": "user.test"}
    while True:
        found = await page(**query)
        seen += found["entries"]
        if found["next"] is None:
            break
        query["before"] = found["next"]
    assert [line["resource"] for line in seen] == [f"r{n}" for n in (6, 5, 4, 3, 2, 1, 0)]
    newer = await page(after=seen[4]["id"], limit=2, action="user.test")
    assert [line["resource"] for line in newer["entries"]] == ["r4", "r3"]
    rest = await page(after=newer["next"], limit=10, action="user.test", user_id="u0")
    assert [line["resource"] for line in rest["entries"]] == ["r6"]
    for bad in ("zz", "00", "x" * 24):
        answer = await http.get("/api/admin/audit", params={"before": bad})
        assert (answer.status_code, answer.json()["field"]) == (400, "before")
