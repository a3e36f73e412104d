"""A session's owner sees and chooses what it may reach, within the server's limit."""

from __future__ import annotations

import pytest

from actors.core.records.egress import EgressUse, Refused
from coditect.errors import ApiError, Forbidden, InvalidRequest, NotFound
from tests.fakes.ingress_fakes import rig as make_rig


async def test_an_owner_sees_the_default_and_chooses_another(rig, ada, session_id):
    found = await ada.network(session_id)
    assert (found.policy, found.chosen, found.limit) == ("internet", False, "internet")
    assert found.limits.connections == 256
    assert found.limits.bytes_per_day is None
    found = await ada.set_network(
        session_id, "allow-list", ["Packages.Example", "*.github.com:443"]
    )
    assert (found.policy, found.chosen) == ("allow-list", True)
    assert found.allow == ["packages.example", "*.github.com:443"]
    assert await ada.network(session_id) == found
    async with await rig.sign_in("bob@example.com") as bob:
        with pytest.raises(NotFound):
            await bob.network(session_id)
        with pytest.raises(NotFound):
            await bob.set_network(session_id, "none")


@pytest.mark.parametrize(
    ("policy", "allow"),
    [
        ("everything", ()),
        ("internet", ("a.test",)),
        ("allow-list", ("a b",)),
        ("allow-list", ["a"] * 201),
    ],
)
async def test_what_is_no_choice_is_refused(ada, session_id, policy, allow):
    with pytest.raises((InvalidRequest, ApiError)) as refused:
        await ada.set_network(session_id, policy, allow)
    assert refused.value.status in {400, 422}


async def test_use_and_refusals_are_what_the_gateway_wrote(rig, ada, session_id):
    refused = Refused(
        at=1.0, host="10.0.0.1", port=80, rule="private", reason="10.0.0.1 is private"
    )
    old = EgressUse(session_id=session_id, day="2000-01-01", sent=5, refusals=(refused,))
    await rig.deps.networks.note_use([old])
    found = await ada.network(session_id)
    assert (found.today.sent, found.refusals[0].reason) == (0, "10.0.0.1 is private")
    today = old.model_copy(update={"day": found.today.day, "received": 7})
    await rig.deps.networks.note_use([today, today.model_copy(update={"session_id": "s-gone"})])
    found = await ada.network(session_id)
    assert (found.today.sent, found.today.received) == (5, 7)
    assert (await rig.deps.networks.get("s-gone")) == (None, None)
    await ada.end_session(session_id)
    assert (await rig.deps.networks.get(session_id)) == (None, None)


async def test_the_limit_is_the_operators(tmp_path, stage):
    changes = {"egress": "none", "egress_limit": "allow-list", "egress_allow": "*.ok.test"}
    async with make_rig(tmp_path, stage, **changes) as rig, await rig.sign_in() as ada:
        session_id = (await ada.sessions())[0].session_id
        assert (await ada.network(session_id)).policy == "none"
        with pytest.raises(Forbidden, match="limit is allow-list"):
            await ada.set_network(session_id, "internet")
        found = await ada.set_network(session_id, "allow-list", ["a.ok.test"])
        assert found.server_allow == ["*.ok.test"]
