"""Sessions are opened on the node with the most room, and on the next one when that does not take them."""

from __future__ import annotations

import pytest

from actors.core.errors.base import Busy, Unavailable
from actors.core.records.nodes import LEAVING, NodeState, NodeView
from actors.core.records.sessions import Cause, Opened
from serve_app.sessions.node_map import REFUSED_SECONDS, STALE_SECONDS, NodeMap
from serve_app.sessions.opening import SessionOpener
from tests.fakes.gateway_fakes import SteppingClock


class Actors:
    """The Supervisor and some pools; ``refusals`` by pool."""

    def __init__(self, *views: NodeView) -> None:
        self.views: list[NodeView] | None = list(views)
        self.refusals: dict[str, Exception] = {}
        self.opened: list[str] = []

    async def call(self, name, method, timeout_seconds, /, **_):
        if method.__name__ == "nodes":
            if self.views is None:
                raise Unavailable("supervisor", "it is away")
            return self.views
        self.opened.append(str(name))
        if name in self.refusals:
            raise self.refusals[name]
        return Opened(
            session_id="s1", actor_id=None, created=True, warm_actor=False, warm_container=True
        )


def node(node_id: str, **fields) -> NodeView:
    known = {"address": "10.0.0.1", "is_head": False, "state": NodeState.JOINED, "alive": True}
    return NodeView(node_id=node_id, **(known | fields))


async def opener(actors: Actors) -> SessionOpener:
    clock = SteppingClock()
    nodes = NodeMap(actors, clock)
    await nodes.refresh()
    return SessionOpener(actors, clock, "node-1", nodes)


async def open_one(opening: SessionOpener, home: str | None = None) -> None:
    await opening.open("u1", "default", "k1", home=home, cause=Cause.LOGIN)


async def test_a_new_session_goes_where_most_room_is():
    actors = Actors(node("node-1", containers=3), node("n-2", containers=1))
    await open_one(await opener(actors))
    assert actors.opened == ["pool-n-2"]


@pytest.mark.parametrize("refusal", [Busy("starts", 1.0), Unavailable("engine", "full")])
async def test_a_node_that_does_not_take_it_is_passed_over(refusal):
    actors = Actors(node("node-1", containers=3), node("n-2", containers=1))
    actors.refusals["pool-n-2"] = refusal
    await open_one(await opener(actors))
    assert actors.opened == ["pool-n-2", "pool-node-1"]


@pytest.mark.parametrize("state", [{"gone": True, "alive": False}, {"state": NodeState.DRAINING}])
async def test_a_session_whose_node_is_gone_or_emptied_is_not_asked_for_there(state):
    actors = Actors(node("node-1", containers=3), node("n-2", **state), node("n-3"))
    await open_one(await opener(actors), home="n-2")
    assert actors.opened == ["pool-n-3"]


async def test_a_node_that_did_not_take_a_session_gets_none_for_some_seconds():
    actors = Actors(node("node-1", containers=3), node("n-2", containers=1))
    opening = await opener(actors)
    actors.refusals["pool-n-2"] = Unavailable("engine", "full")
    await open_one(opening)
    await open_one(opening)
    assert actors.opened == ["pool-n-2", "pool-node-1", "pool-node-1"]
    await opening._clock.sleep(REFUSED_SECONDS + 0.1)
    actors.refusals.clear()
    await open_one(opening)
    assert actors.opened[3:] == ["pool-n-2"]


async def test_a_session_whose_node_has_left_is_not_asked_for_there():
    actors = Actors(node("node-1"))
    await open_one(await opener(actors), home="n-left")
    assert actors.opened == ["pool-node-1"]


async def test_a_session_whose_node_has_just_begun_to_be_emptied_is_opened_elsewhere():
    actors = Actors(node("node-1"), node("n-2"))
    actors.refusals["pool-n-2"] = Busy(LEAVING, 1.0)
    await open_one(await opener(actors), home="n-2")
    assert actors.opened == ["pool-n-2", "pool-node-1"]


async def test_a_session_that_has_a_node_is_opened_there_whatever_room_others_have():
    actors = Actors(node("node-1"), node("n-2", containers=9))
    await open_one(await opener(actors), home="n-2")
    assert actors.opened == ["pool-n-2"]


async def test_without_word_of_the_nodes_for_long_all_is_opened_here():
    actors, clock = Actors(node("node-1", containers=3), node("n-2")), SteppingClock()
    nodes = NodeMap(actors, clock)
    await nodes.refresh()
    actors.views = None
    await nodes.refresh()
    assert nodes.place() == "n-2"
    await clock.sleep(STALE_SECONDS + 1)
    await nodes.refresh()
    assert nodes.place() is None
    assert not nodes.is_gone("n-2")
