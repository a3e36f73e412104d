"""Quotas through the whole API: refusals, their reports, and recovery by itself."""

from __future__ import annotations

import json

import httpx
import pytest
from websockets.asyncio.client import connect

from cluster.archive import syncer
from cluster.archive.saving import quota_backlog
from coditect import QuotaExceeded
from tests.fakes.ingress_fakes import rig as make_rig
from tests.support.waiting import wait_until

KIB = 1 << 10


@pytest.fixture
async def small(tmp_path, stage, monkeypatch):
    """A server whose users have little, and that looks soon for what it holds."""
    monkeypatch.setattr(quota_backlog, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(syncer, "HELD_WAIT_SECONDS", 0.05)
    limits = {
        "quota_file_bytes": 100 * KIB,
        "quota_files": 20,
        "quota_containers": 1,
        "quota_journal_bytes": 64 * KIB,
    }
    async with make_rig(tmp_path, stage, **limits) as made, await made.sign_in() as ada:
        yield made, ada, (await ada.sessions())[0].session_id


async def test_a_save_beyond_the_quota_reports_how_much_there_is_and_changes_nothing(small):
    rig, ada, session_id = small
    await ada.write_file(session_id, "kept", b"1" * 90 * KIB)
    with pytest.raises(QuotaExceeded) as refused:
        await ada.write_file(session_id, "more", b"2" * 20 * KIB, key="k")
    problem = refused.value.problem
    assert refused.value.status == 507
    assert (problem["resource"], problem["used"], problem["limit"]) == (
        "file_bytes", 90 * KIB, 100 * KIB,
    )  # fmt: skip
    assert {entry.name for entry in await ada.tree(session_id)} == {"kept"}
    # Without a length it is only seen on the way, and nothing is there either.
    url = f"/api/v1/sessions/{session_id}/files/more"

    async def parts():
        for _ in range(20):
            yield b"2" * KIB

    answer = await rig.http(ada).put(url, content=parts())
    assert (answer.status_code, answer.json()["code"]) == (507, "quota_exceeded")
    assert {entry.name for entry in await ada.tree(session_id)} == {"kept"}

    await ada.write_file(session_id, "kept", b"3" * 70 * KIB)
    receipt = await ada.write_file(session_id, "more", b"2" * 20 * KIB, key="k")
    assert receipt.durable
    me = await ada.me()
    assert me.usage is not None
    assert (me.usage.file_bytes.used, me.usage.file_bytes.limit) == (90 * KIB, 100 * KIB)
    assert me.usage.files.used == 2


async def test_a_former_version_that_is_too_large_is_not_put_back(small):
    _, ada, session_id = small
    first = await ada.write_file(session_id, "a", b"1" * 80 * KIB)
    await ada.write_file(session_id, "a", b"1")
    await ada.write_file(session_id, "b", b"2" * 60 * KIB)
    with pytest.raises(QuotaExceeded):
        await ada.restore_file(session_id, "a", first.version)
    assert await ada.read_file(session_id, "a") == b"1"
    await ada.delete_file(session_id, "b")
    assert (await ada.restore_file(session_id, "a", first.version)).size == 80 * KIB


async def test_what_programs_write_beyond_the_quota_is_reported_and_archived_when_it_is_raised(
    small,
):
    rig, ada, session_id = small
    address = f"ws{rig.url.removeprefix('http')}/api/v1/sessions/{session_id}/events"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    async with connect(address, additional_headers=headers) as events:
        await ada.exec(session_id, ["sh", "-c", "head -c 200000 /dev/zero > big; echo x > small"])

        async def reported() -> dict:
            while (frame := json.loads(await events.recv()))["type"] != "unarchived":
                pass
            return frame["data"]

        held = await reported()
        assert (held["resource"], held["paths"], held["size"]) == ("file_bytes", 1, 200_000)
        session = await ada.session(session_id)
        assert session.unarchived is not None
        assert (session.unarchived.paths, session.unarchived.size) == (1, 200_000)
        assert session.usage is not None
        assert session.usage.file_bytes.limit == 100 * KIB
        assert [v.type for v in await ada.history(session_id, "small")] == ["file"]

        admin = await rig.sign_in("admin@example.com")
        async with admin:
            user_id = (await ada.me()).user_id
            changed = await admin.set_quotas(user_id, file_bytes=1 << 20)
            assert changed.quotas == {"file_bytes": 1 << 20}
            assert await reported() == {}
            assert (await ada.session(session_id)).unarchived is None
            assert (await ada.history(session_id, "big"))[0].size == 200_000
            listed = {user.email: user async for user in admin.users()}
            ours = listed["ada@example.com"]
            assert ours.quotas == {"file_bytes": 1 << 20}
            assert ours.usage is not None
            assert ours.usage.file_bytes.used >= 200_000
            assert (await admin.set_quotas(user_id, file_bytes=None)).quotas == {}


async def test_a_user_sets_no_quotas_and_nonsense_is_refused(small):
    rig, ada, _ = small
    user_id = (await ada.me()).user_id
    mine = await rig.http(ada).patch(f"/api/admin/users/{user_id}", json={"quotas": {"files": 0}})
    assert mine.status_code == 403
    async with await rig.sign_in("admin@example.com") as admin:
        http = rig.http(admin)
        for wrong in ({"files": -1}, {"files": "many"}, {"unknown": 1}, {"files": 1 << 62}):
            answer = await http.patch(f"/api/admin/users/{user_id}", json={"quotas": wrong})
            assert answer.status_code == 422, wrong
        missing = await http.patch("/api/admin/users/u-none", json={"quotas": {"files": 1}})
        assert missing.status_code == 404


def refused_for(answer: httpx.Response, *sessions: str) -> None:
    assert answer.status_code == 409, answer.text
    problem = answer.json()
    assert problem["code"] == "quota_exceeded"
    assert problem["resource"] == "containers"
    assert problem["sessions"] == list(sessions)


async def test_a_second_container_is_refused_by_name_of_the_first_and_comes_when_that_rests(small):
    rig, ada, session_id = small
    await ada.exec(session_id, ["true"])
    http = rig.http(ada)
    refused_for(await http.post("/api/v1/sessions", json={"name": "second"}), "default")
    refused_for(await http.post("/api/v1/containers", json={"name": "second"}), "default")
    with pytest.raises(QuotaExceeded):
        await ada.open_session("second")
    await ada.hibernate(session_id)
    second = await ada.open_session("second")
    assert (await ada.exec(second.session_id, ["echo", "here"])).stdout == "here\n"

    refused_for(await http.post(f"/api/v1/sessions/{session_id}/resume"), "second")
    refused_for(
        await http.post(f"/api/v1/sessions/{session_id}/exec", json={"argv": ["true"]}), "second"
    )
    async with await rig.sign_in() as again:  # whoever signs in gets in all the same
        assert (await again.session(session_id)).status == "hibernated"
        assert (await again.me()).usage.containers.used == 1
    # A terminal that is opened meanwhile has the session report why it does not start.
    runner = rig.actor_of(session_id, await rig.owner(session_id))
    await runner.wake(session_id)
    failed = await wait_until(lambda: ada.session(session_id), lambda s: s.status == "failed")
    assert failed.failure.startswith("quota_exceeded: 1 of 1 containers")
    refused_for(
        await http.post(f"/api/v1/sessions/{session_id}/exec", json={"argv": ["true"]}), "second"
    )

    await ada.end_session(second.session_id)
    await ada.resume(session_id)
    assert (await ada.exec(session_id, ["echo", "back"])).stdout == "back\n"


async def test_too_much_output_loses_its_oldest_and_the_shell_goes_on(small):
    _, ada, session_id = small

    async def output() -> bytes:
        return b"".join([part async for part in ada.output(session_id)])

    async with await ada.terminal(session_id, "main") as terminal:
        await terminal.send("head -c 150000 /dev/zero | tr '\\0' x; echo; echo do''ne\r")
        await terminal.read_until(b"done")
        kept = await wait_until(output, lambda found: len(found) <= 64 * KIB)
        assert b"done" in kept
        await terminal.send("echo al''ive\r")
        await terminal.read_until(b"alive")
    assert b"alive" in await output()
    usage = (await ada.me()).usage
    assert 0 < usage.journal_bytes.used <= usage.journal_bytes.limit == 64 * KIB
    (main,) = await ada.terminals(session_id)
    assert main.end_offset > 150_000
