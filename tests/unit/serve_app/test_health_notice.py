from __future__ import annotations

from serve_app import health
from serve_app.health import Component, shared


async def test_what_operators_should_know_is_told_of_what_is_well_and_does_not_make_it_ill():
    async def well():
        return None

    async def ill():
        return "no warm containers"

    notice = shared(is_root=False)
    said = await health._ask(Component("runtime", vital=False, ask=well, notice=notice))
    assert (said.status, said.detail) == ("ok", notice)
    assert "share one user id" in notice
    assert "disk" in notice
    said = await health._ask(Component("runtime", vital=False, ask=ill, notice=notice))
    assert (said.status, said.detail) == ("degraded", "no warm containers")


def test_root_gives_containers_all_of_their_own():
    assert shared(is_root=True) is None
