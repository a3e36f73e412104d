"""Names that are no UTF-8 go through every call, to the byte; large directories come in pages."""

from __future__ import annotations

import json
import os

import pytest
from websockets.asyncio.client import connect

from tests.support.waiting import wait_until

NAME = "\udcff\udcfe ä.txt"


async def test_a_name_that_is_no_utf8_works_in_every_call(ada, session_id):
    receipt = await ada.write_file(session_id, NAME, b"one")
    assert receipt.path == NAME
    (entry,) = await ada.tree(session_id)
    assert entry.name == NAME
    assert await ada.read_file(session_id, NAME) == b"one"
    (version,) = await ada.history(session_id, NAME)
    await ada.write_file(session_id, NAME, b"two")
    again = await ada.restore_file(session_id, NAME, version.version, target="d\udc80/" + NAME)
    assert again.path == "d\udc80/" + NAME
    assert [each.name for each in await ada.tree(session_id, "d\udc80")] == [NAME]
    assert await ada.read_file(session_id, "d\udc80/" + NAME) == b"one"
    await ada.delete_file(session_id, NAME)
    assert [each.name for each in await ada.tree(session_id)] == ["d\udc80"]
    first = await ada.write_file(session_id, NAME, b"x", key="k")
    assert await ada.write_file(session_id, NAME, b"x", key="k") == first


async def test_names_move_and_directories_are_made(rig, ada, session_id):
    place = f"/api/v1/sessions/{session_id}"
    async with rig.http(ada) as web:
        saved = await web.put(f"{place}/files/%FF.txt", content=b"v1")
        assert saved.json()["path"] == "\udcff.txt"
        assert b"\\udcff" in saved.content

        async def post(call, **body):
            content = json.dumps(body).encode()
            return await web.post(
                f"{place}/{call}", content=content, headers={"content-type": "application/json"}
            )

        assert (await post("move", source="\udcff.txt", target="\udcfe.txt")).status_code == 204
        made = await post("directories", path="d\udcfd")
        assert (made.status_code, made.json()["path"]) == (201, "d\udcfd")
        tree = (await web.get(f"{place}/tree/")).json()
        assert [(each["name"], each["encoded"]) for each in tree["entries"]] == [
            ("d\udcfd", "d%FD"),
            ("\udcfe.txt", "%FE.txt"),
        ]
        inside = (await web.get(f"{place}/tree/d%FD")).json()
        assert inside["path"] == "d\udcfd"
        # Surrogates that spell UTF-8 are these characters: a name is one text.
        assert (await post("directories", path="\udcc3\udca9")).json()["path"] == "é"
        for wrong in ("\ud800", "a\udfff", "", "x" * 20_000):
            assert (await post("directories", path=wrong)).status_code == 422


async def test_links_and_events_carry_names_to_the_byte(rig, ada, session_id):
    script = "ln -s \"$(printf 'to\\377')\" link"
    await ada.exec(session_id, ["sh", "-c", script])
    (entry,) = await ada.tree(session_id)
    assert entry.target == "to\udcff"
    url = f"{rig.url.replace('http', 'ws')}/api/v1/sessions/{session_id}/events"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    async with connect(url, additional_headers=headers, proxy=None) as socket:
        await socket.recv()
        await ada.write_file(session_id, NAME, b"x")
        while (event := json.loads(await socket.recv()))["type"] != "saved":
            pass
    assert event["data"]["path"] == NAME


async def test_a_shell_in_a_directory_that_is_no_utf8_is_listed(rig, ada, session_id):
    async with rig.http(ada) as web:
        await web.post(
            f"/api/v1/sessions/{session_id}/directories",
            content=b'{"path": "d\\udcff"}',
            headers={"content-type": "application/json"},
        )
        answer = await web.post(
            f"/api/v1/sessions/{session_id}/terminals",
            content=b'{"name": "t", "cwd": "d\\udcff"}',
            headers={"content-type": "application/json"},
        )
    assert answer.status_code == 201, answer.text
    (listed,) = await ada.terminals(session_id)
    assert (listed.name, os.path.basename(listed.cwd)) == ("t", "d\udcff")
    assert answer.json()["cwd"] == listed.cwd
    # What is reported can be given back: the directory of one terminal to another.
    again = await ada.start_terminal(session_id, "u", cwd=listed.cwd)
    assert again.cwd == listed.cwd
    kept = await wait_until(
        lambda: rig.deps.journal.terminals(session_id), lambda found: len(found) == 2
    )
    assert {each.cwd for each in kept} == {listed.cwd}
    await ada.hibernate(session_id)
    assert {each.cwd for each in await ada.terminals(session_id)} == {listed.cwd}


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_a_directory_comes_in_pages(rig, ada, session_id, limit):
    names = sorted([b"a", b"b c", b"d&e", "ü".encode(), b"\xff", b"g+h", b"%41"])
    for name in names:
        await ada.write_file(session_id, os.fsdecode(name), b"")
    found, after = [], ""
    async with rig.http(ada) as web:
        while after is not None:
            query = f"?limit={limit}&after=" + "".join(
                f"%{byte:02X}" for byte in os.fsencode(after)
            )
            page = (await web.get(f"/api/v1/sessions/{session_id}/tree/{query}")).json()
            assert len(page["entries"]) <= limit
            assert page["truncated"] == (page["next"] is not None)
            found += [os.fsencode(each["name"]) for each in page["entries"]]
            after = page["next"]
    assert found == names


async def test_the_client_lists_all_of_a_large_directory(ada, session_id):
    script = "mkdir d; cd d; seq 10500 | xargs touch"
    await ada.exec(session_id, ["sh", "-c", script], timeout_seconds=60)
    listed = await ada.tree(session_id, "d")
    assert {each.name for each in listed} == {str(number) for number in range(1, 10_501)}
    assert len(listed) == 10_500


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x"])
async def test_a_limit_is_a_number_within_bounds(rig, ada, session_id, query):
    async with rig.http(ada) as web:
        answer = await web.get(f"/api/v1/sessions/{session_id}/tree/?{query}")
    assert answer.status_code == 422
