"""The terminals of a session over HTTP."""

from __future__ import annotations

import pytest

from actors.core.ports.codi import TerminalOpened, TerminalPrinted
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import terminals
from cluster.store.transactions.transaction import transact
from tests.support.problems import is_problem
from tests.support.waiting import wait_until


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


async def test_followers_hear_of_terminals_that_come_and_go(rig, ada, session_id):
    async def kept() -> list[str]:
        return [each.name for each in await rig.deps.journal.terminals(session_id)]

    async def heard() -> list[list[str]]:
        return [each.data["names"] for each in rig.health.heard if each.type == "terminals"]

    http = rig.http(ada)
    url = f"/api/v1/sessions/{session_id}/terminals"
    for _ in range(2):
        await http.post(url, json={"name": "build"})
    await wait_until(kept, lambda names: names == ["build"])
    for _ in range(2):
        await (await ada.terminal(session_id, "main")).close()
        await wait_until(kept, lambda names: names == ["build", "main"])
    await http.delete(f"{url}/build")
    expected = [["build"], ["build", "main"], ["main"]]
    await wait_until(heard, lambda names: names == expected)


@pytest.mark.parametrize("looks", [1, 2])
async def test_output_that_is_cut_while_it_is_read_is_still_shown(
    rig, ada, session_id, monkeypatch, looks
):
    """The oldest output goes behind the first or the second look at what is kept."""

    async def container_of() -> str | None:
        return (await ada.session(session_id)).container_id

    journal, container = rig.deps.journal, await wait_until(container_of, bool)
    record = await journal.open_terminal(
        container, TerminalOpened(1, "t", cols=80, rows=24, cwd=None, kept=None), 0.0
    )
    printed = TerminalPrinted(1, record.end, b"x" * 300_000 + b"last", {})
    await journal.append([(record, printed)], 0.0)
    asked = []

    def cutting(read):
        async def look(*args):
            found = await read(*args)
            asked.append(read)
            if len(asked) == looks:
                work = (terminals.cut, Keyspace(rig.deps.settings.tenant), session_id, "t", 100_000)
                assert await transact(journal._engine, *work) >= 200_000
            return found

        return look

    monkeypatch.setattr(journal, "terminal", cutting(journal.terminal))
    monkeypatch.setattr(journal, "output", cutting(journal.output))
    answer = await rig.http(ada).get(f"/api/v1/sessions/{session_id}/terminals/t/output")
    assert answer.content.endswith(b"last")
    assert len(asked) >= looks
