"""Watching a workspace and searching it, over HTTP."""

from __future__ import annotations

import asyncio
import time

import pytest

from coditect import FileChange, InvalidRequest, NotFound, SearchStopped


async def fill(client, session_id):
    script = """
        mkdir -p src/deep .git node_modules
        printf 'one\\nTwo needle\\n' > src/a.py; printf 'needle\\0' > src/binary
        for file in src/deep/b .git/c node_modules/d; do echo needle > $file; done
        ln -s a.py src/link
    """
    assert (await client.exec(session_id, ["sh", "-c", script])).exit_code == 0


async def test_names_and_lines_are_found_in_order_and_page_by_page(rig, ada, session_id):
    await fill(ada, session_id)

    async def found(text, **options):
        return [(m.path, m.line) async for m in ada.search(session_id, text, **options)]

    assert await found("A.PY") == [("src/a.py", None)]
    assert await found("A.PY", case=True) == []
    assert await found("needle", kind="content") == [("src/a.py", 2), ("src/deep/b", 1)]
    assert await found("^n.*e$", kind="content", regex=True) == [("src/deep/b", 1)]
    everything = await found("needle", kind="content", everything=True)
    assert [path for path, _ in everything] == [
        ".git/c", "node_modules/d", "src/a.py", "src/deep/b",
    ]  # fmt: skip
    assert await found("b", path="src/deep") == [("src/deep/b", None)]
    url, seen, after = f"/api/v1/sessions/{session_id}/search", [], ""
    while after is not None:
        query = {"q": "needle", "kind": "content", "everything": "true", "limit": 1, "after": after}
        page = (await rig.http(ada).get(url, params=query)).json()
        seen += [match["path"] for match in page["matches"]]
        after = page["next"]
    assert seen == [path for path, _ in everything]


async def test_an_expression_that_never_ends_is_cut_and_others_are_answered(rig, ada, session_id):
    await ada.write_file(session_id, "trap", b"a" * 5000 + b"!\n")
    url = f"/api/v1/sessions/{session_id}/search"
    query = {"q": "(a+)+$", "kind": "content", "regex": "true"}
    searching = asyncio.create_task(rig.http(ada).get(url, params=query, timeout=60))
    await asyncio.sleep(0.5)
    began = time.monotonic()
    assert (await ada.exec(session_id, ["echo", "on"])).stdout == "on\n"
    assert time.monotonic() - began < 5
    page = (await searching).json()
    assert (page["matches"], page["stopped_by"]) == ([], "time")
    with pytest.raises(SearchStopped, match="time"):
        async for _ in ada.search(session_id, "(a+)+$", kind="content", regex=True):
            pass


async def test_what_is_wrong_with_a_search_is_named(ada, session_id):
    for options in ({"regex": True, "text": "("}, {"path": "../x", "text": "x"}):
        with pytest.raises(InvalidRequest):
            async for _ in ada.search(session_id, **options):
                pass
    with pytest.raises(NotFound):
        async for _ in ada.search(session_id, "x", path="nowhere"):
            pass


async def test_changes_come_as_they_happen_and_a_replaced_container_is_said(rig, ada, session_id):
    await fill(ada, session_id)
    changes = ada.watch(session_id, "src")
    assert await asyncio.wait_for(anext(changes), 60) == FileChange("src", lost=True)

    async def until(*wanted):
        seen = []
        async with asyncio.timeout(60):
            while not set(wanted) <= set(seen):
                seen.append(await anext(changes))
        return seen

    began = time.monotonic()
    await ada.exec(session_id, ["sh", "-c", "echo x > src/new; rm src/a.py; echo x > beside"])
    seen = await until(FileChange("src/new", "file"), FileChange("src/a.py", "gone"))
    assert time.monotonic() - began < 10
    assert not [each for each in seen if each.path == "beside"]
    await ada.exec(session_id, ["sh", "-c", "mkdir src/in; echo x > src/in/f"])
    await until(FileChange("src/in", "directory"))
    await rig.kill_container(session_id)
    await until(FileChange("src", lost=True))
    await ada.exec(session_id, ["sh", "-c", "echo x > src/later"])
    await until(FileChange("src/later", "file"))
    await changes.aclose()
