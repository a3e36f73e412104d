"""The runtime against Cloud Run that refuses, is late, restarts containers and forgets nothing."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from actors.core.errors.sessions import LaunchFailed
from actors.core.records.containers import ContainerSpec, Health
from cluster import identity_tokens
from cluster.clock import SystemClock
from cluster.cloud_run_options import Place, Shape
from cluster.identity_tokens import IdentityTokens, Token
from cluster.runtime.cloud_run import launch as launching
from cluster.runtime.cloud_run import link
from cluster.runtime.cloud_run.link import RESTARTED, ControlLink, Restarted
from cluster.runtime.cloud_run.placement import Placement
from cluster.runtime.cloud_run.runtime import CloudRunRuntime, Limits
from cluster.runtime.cloud_run.service_spec import Rules
from tests.fakes.cloud_run import FakeCloudRun, refusal
from tests.support.waiting import wait_until

A, B = Place("project-a", "europe-west1"), Place("project-b", "us-east1")


@pytest.fixture(autouse=True)
def _no_google(monkeypatch):
    async def fetch(audience):
        return Token("token", 1e12)

    monkeypatch.setattr(identity_tokens, "fetch_by_google", fetch)
    monkeypatch.setattr(launching, "FIRST_PAUSE", 0.01)


@pytest_asyncio.fixture
async def api():
    api = FakeCloudRun()
    yield api
    await api.close()


@pytest.fixture
def make(tmp_path, api):
    def make(places=(A,), launch_timeout=5.0, renew_seconds=3600.0, **placed):
        return CloudRunRuntime(
            tmp_path,
            api=api,
            shape=Shape.SERVICES,
            rules=Rules(node_id="node-1", service_account="s@p", network="n"),
            placement=Placement(places, **({"limit": 10, "writes": 1000} | placed)),
            limits=Limits(launch_timeout, 2.0, 4, renew_seconds),
            clock=SystemClock(),
        )

    return make


async def until(holds) -> None:
    async def look():
        return holds()

    await wait_until(look, pause_seconds=0.005)


def spec(name="one", **changes) -> ContainerSpec:
    fields = {
        "container_id": f"c-{name}",
        "tenant_id": "t",
        "workspace_id": f"w-{name}",
        "secret": "secret",
        "user_id": "u-1",
    }
    return ContainerSpec(**(fields | changes))


async def test_a_launched_container_is_healthy_listed_and_gone_after_its_stop(make, api):
    runtime = make()
    handle = await runtime.launch(spec())
    assert handle.address == f"{api.only.seen.uri}#boot-1"
    assert await runtime.probe(handle) is Health.HEALTHY
    assert await runtime.launch(spec()) == handle
    assert await runtime.list() == [handle]
    await runtime.stop(handle, 1)
    await runtime.stop(handle, 1)
    assert await runtime.probe(handle) is Health.DEAD
    assert await runtime.list() == []
    assert api.containers == {}


async def test_a_creation_that_succeeds_after_its_call_has_failed_is_the_container(make, api):
    api.create_answers, api.late = ["DEADLINE_EXCEEDED"], True
    runtime = make()
    handle = await runtime.launch(spec())
    assert len(api.asked) == 1
    assert await runtime.probe(handle) is Health.HEALTHY


async def test_a_call_that_failed_and_did_nothing_is_made_again(make, api):
    api.create_answers = ["UNAVAILABLE", "INTERNAL"]
    await make().launch(spec())
    assert len(api.asked) == 3
    assert len(set(api.asked)) == 1


async def test_a_place_without_quota_is_left_for_another(make, api):
    api.create_answers = ["RESOURCE_EXHAUSTED"]
    runtime = make(places=(A, B))
    await runtime.launch(spec())
    first, second = api.asked
    assert first.split("/")[1] != second.split("/")[1]


async def test_a_place_where_something_may_be_made_still_is_not_left(make, api):
    api.create_answers = ["DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"]
    await make(places=(A, B)).launch(spec())
    assert len(api.asked) == 3
    assert len(set(api.asked)) == 1


async def test_when_no_place_has_room_the_launch_fails_at_once(make, api):
    runtime = make(limit=1)
    await runtime.launch(spec())
    with pytest.raises(LaunchFailed, match="room"):
        await runtime.launch(spec("two"))


async def test_a_refusal_for_good_ends_the_launch_and_leaves_nothing(make, api):
    api.create_answers = ["PERMISSION_DENIED"]
    runtime = make()
    with pytest.raises(LaunchFailed, match="PERMISSION_DENIED"):
        await runtime.launch(spec())
    assert await runtime.list() == []


async def test_a_launch_that_takes_too_long_leaves_nothing_behind(make, api):
    api.never_ready = True
    runtime = make(launch_timeout=0.3)
    with pytest.raises(LaunchFailed, match=r"0\.3 s"):
        await runtime.launch(spec())
    assert api.asked
    assert api.containers == {}
    assert await runtime.list() == []


async def test_a_launch_that_nobody_wants_any_more_is_undone(make, api):
    api.never_ready = True
    runtime = make()
    launch = asyncio.create_task(runtime.launch(spec()))
    await until(lambda: api.containers)
    launch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launch
    assert api.containers == {}


async def test_what_a_dead_launcher_has_made_is_found_by_its_label_and_ended(make, api, tmp_path):
    handle = await make().launch(spec())
    for note in tmp_path.rglob("c-one.json"):
        note.unlink()
    runtime = make()
    (ghost,) = await runtime.list()
    assert ghost.container_id == handle.container_id
    assert ghost.workspace_id == handle.workspace_id
    await runtime.stop(ghost, 0)
    assert await runtime.list() == []
    assert api.containers == {}


async def test_containers_of_another_node_are_left_alone_but_counted(make, api):
    runtime = make()
    await runtime.launch(spec())
    for each in api.containers.values():
        each.seen.labels["coditect-node"] = "another"
    runtime = make()
    assert await runtime.quota() == {str(A): 9}
    assert [h.address for h in await runtime.list()] == []


async def test_a_second_launch_of_a_container_whose_launcher_died_takes_over(make, api):
    api.never_ready = True
    first = make()
    launch = asyncio.create_task(first.launch(spec()))
    await until(lambda: api.containers)
    api.never_ready = False
    handle = await make().launch(spec())
    assert await make().probe(handle) is Health.HEALTHY
    launch.cancel()
    await asyncio.gather(launch, return_exceptions=True)


async def test_a_restart_is_the_end_of_a_container_for_probe_and_watch(make, api):
    runtime = make()
    handle = await runtime.launch(spec())
    watch = asyncio.create_task(runtime.wait_exit(handle))
    await until(lambda: api.only.links)
    api.only.restart()
    assert await asyncio.wait_for(watch, 5) == RESTARTED
    assert await runtime.probe(handle) is Health.DEAD


async def test_a_request_that_is_cut_is_no_end_and_is_made_again(make, api):
    runtime = make()
    handle = await runtime.launch(spec())
    watch = asyncio.create_task(runtime.wait_exit(handle))
    await until(lambda: api.only.links)
    api.only.cut()
    await until(lambda: api.only.links == 2)
    assert not watch.done()
    await runtime.stop(handle, 0)
    assert "removed" in await asyncio.wait_for(watch, 5)


async def test_a_link_whose_renewal_fails_and_which_ends_is_not_asked_for_without_a_pause(
    make, api, monkeypatch
):
    tries: list[float] = []
    runtime = make(renew_seconds=0.02)
    handle = await runtime.launch(spec())
    watch = asyncio.create_task(runtime.wait_exit(handle))
    await until(lambda: api.only.links)

    async def away(*_) -> None:
        tries.append(0.0)
        raise OSError

    monkeypatch.setattr(link.ControlLink, "_follow", away)
    await until(lambda: tries)
    api.only.cut()
    for _ in range(3000):
        await asyncio.sleep(0)
    assert len(tries) < 100
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def test_the_link_is_renewed_before_the_cut_and_the_former_closed_after(make, api):
    runtime = make(renew_seconds=0.05)
    handle = await runtime.launch(spec())
    watch = asyncio.create_task(runtime.wait_exit(handle))
    await until(lambda: api.only.links >= 3)
    assert 1 <= len(api.only.connections) <= 2
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def test_a_warm_container_is_linked_to_once_it_is_claimed(make, api, monkeypatch):
    monkeypatch.setattr("cluster.runtime.cloud_run.runtime.UNCLAIMED_SECONDS", 0.01)
    runtime = make()
    handle = await runtime.launch(spec(user_id=None))
    watch = asyncio.create_task(runtime.wait_exit(handle))
    await asyncio.sleep(0.05)
    assert api.only.links == 0
    api.only.session_id = "s-1"
    await until(lambda: api.only.links)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def test_one_look_serves_many_questions(make, api):
    runtime = make()
    await asyncio.gather(*(runtime.list() for _ in range(10)))
    assert api.lists == 1


async def test_what_a_place_does_not_say_ends_no_container(make, api):
    runtime = make()
    handle = await runtime.launch(spec())

    async def silent(place):
        raise refusal("UNAVAILABLE")

    api.list = silent
    assert await make().list() == [handle]


class TestTokens:
    async def test_callers_of_one_audience_share_a_fetch(self):
        asked = []

        async def fetch(audience):
            asked.append(audience)
            await asyncio.sleep(0)
            return Token("t", 1000.0)

        tokens = IdentityTokens(fetch, now=lambda: 0.0)
        assert await asyncio.gather(*(tokens.token("a") for _ in range(5))) == ["t"] * 5
        assert asked == ["a"]

    async def test_a_token_is_renewed_before_it_ends_and_serves_meanwhile(self):
        now, made = [0.0], []

        async def fetch(audience):
            made.append(Token(f"t{len(made)}", now[0] + 3600))
            return made[-1]

        tokens = IdentityTokens(fetch, now=lambda: now[0])
        assert await tokens.token("a") == "t0"
        now[0] = 3000.0
        assert await tokens.token("a") == "t0"
        now[0] = 3400.0
        assert await tokens.token("a") == "t0"
        await until(lambda: len(made) == 2)
        assert await tokens.token("a") == "t1"
        await tokens.close()

    async def test_a_failure_is_the_callers_and_the_next_one_asks_again(self):
        answers = [OSError("no"), Token("t", 1000.0)]

        async def fetch(audience):
            answer = answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

        tokens = IdentityTokens(fetch, now=lambda: 0.0)
        with pytest.raises(OSError, match="no"):
            await tokens.token("a")
        assert await tokens.token("a") == "t"


async def test_a_second_resource_of_a_known_container_is_listed_by_another_id(make, api):
    runtime = make(places=(A, B))
    handle = await runtime.launch(spec())
    made = api.only
    other = B if handle.data["resource"].startswith(A.parent) else A
    await api.create(other, made.seen.resource.rsplit("/", 1)[1], made.document)
    listed = await runtime.list()
    assert listed[0] == handle
    assert len({each.container_id for each in listed}) == 2
    await runtime.stop(listed[1], 1)
    assert api.only is made
    assert await runtime.list() == [handle]


async def test_a_container_of_a_place_that_is_no_longer_configured_is_still_listed(make):
    handle = await make(places=(A,)).launch(spec())
    assert await make(places=(B,)).list() == [handle]


async def test_a_link_that_breaks_at_once_is_not_opened_without_a_pause(monkeypatch):
    held = ControlLink("http://127.0.0.1:1#boot", "secret", 3600.0, _is_there)
    pauses: list[float] = []

    async def ended():
        raise ConnectionResetError

    async def opened():
        if len(pauses) == 4:
            raise Restarted
        return asyncio.create_task(ended())

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(held, "_opened", opened)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert await held.hold() == RESTARTED
    assert pauses == [0.1, 0.2, 0.4, 0.8]


async def _is_there() -> None:
    return None
