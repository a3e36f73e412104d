"""Saves: receipts, conditions, and the same one made again under its key."""

from __future__ import annotations

import asyncio
import time

import pytest

from actors.core.errors.base import Unavailable
from cluster.store.layers.workspaces.saves import LEASE_SECONDS, place_of
from coditect import NotFound, PreconditionFailed
from tests.support.problems import is_problem


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
