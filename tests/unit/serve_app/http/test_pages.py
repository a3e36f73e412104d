"""Pages: their headers, and who gets one."""

from __future__ import annotations

from tests.support.problems import is_problem


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
