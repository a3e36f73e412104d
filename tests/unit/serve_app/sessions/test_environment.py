"""What users set reaches what starts from then on, and nobody else's programs."""

from __future__ import annotations

import pytest

from actors.core.errors.base import Unavailable
from actors.core.records.environment import Environment
from actors.core.records.sessions import Route
from cluster.codi.answers import EnvironmentMissing
from serve_app.sessions.environment import Personal
from tests.fakes.pool_fakes import NoEnvironments
from tests.support.waiting import wait_until

ROUTE = Route(session_id="s", container_id="c", epoch=1, address="-", secret="-")
SHOW = "echo =$PLAIN,$SECRET=\r"


class Container:
    """Starts programs once it has the version that they need; ``forgets`` versions that it is given."""

    def __init__(self, *, forgets: int = 0) -> None:
        self.version = 0
        self.forgets = forgets
        self.given: list[Environment] = []
        self.tries: list[int] = []

    async def put_environment(self, route: Route, environment: Environment) -> None:
        self.given.append(environment)
        self.forgets -= 1
        if self.forgets < 0:
            self.version = environment.version

    async def start(self, route: Route) -> int:
        self.tries.append(route.environment)
        if route.environment > self.version:
            raise EnvironmentMissing("the container", "older")
        return self.version


class Broken(NoEnvironments):
    """Environments of a store that is away; ``current`` alone fails when it knows a version."""

    async def version(self, session_id: str) -> int:
        if session_id in self.has:
            return self.has[session_id].version
        raise Unavailable("store", "away")

    async def current(self, session_id: str) -> Environment:
        raise Unavailable("store", "away")


async def test_who_has_set_nothing_costs_a_container_nothing():
    container = Container()
    assert await Personal(NoEnvironments(), container).start(ROUTE, container.start) == 0
    assert (container.tries, container.given) == ([0], [])


async def test_a_container_is_given_a_version_once():
    known, container = NoEnvironments(), Container()
    known.has["s"] = Environment(3, {"A": "x"})
    personal = Personal(known, container)
    for _ in range(2):
        assert await personal.start(ROUTE, container.start) == 3
    assert (container.tries, container.given) == ([3, 3, 3], [known.has["s"]])


async def test_while_the_store_is_away_programs_start_with_what_there_is():
    container = Container()
    away = Broken()
    assert await Personal(away, container).start(ROUTE, container.start) == 0
    away.has["s"] = Environment(3)
    assert await Personal(away, container).start(ROUTE, container.start) == 0
    assert (container.tries, container.given) == ([0, 3, 0], [])


async def test_a_container_that_does_not_keep_it_is_not_asked_for_ever():
    known, container = NoEnvironments(), Container(forgets=9)
    known.has["s"] = Environment(3)
    with pytest.raises(EnvironmentMissing):
        await Personal(known, container).start(ROUTE, container.start)
    assert len(container.tries) == 2


async def test_dotfiles_are_noted_when_a_container_has_them():
    known, container = NoEnvironments(), Container()
    known.has["s"] = Environment(3, dotfiles="https://h/d")
    await Personal(known, container).start(ROUTE, container.start)
    assert known.noted == ["s"]


# ---- over a whole server ----------------------------------------------------------------------------


async def test_new_shells_and_programs_see_what_is_set_and_old_ones_do_not(rig, ada, session_id):
    show = ["sh", "-c", "echo $PLAIN,$SECRET"]
    async with await ada.terminal(session_id, "old") as old:
        await old.send(SHOW)
        await old.read_until(b"=,=\r\n", 60)
        await ada.set_variable("PLAIN", "one")
        await ada.set_secret("SECRET", "two")
        await ada.set_secret("FOR_A_HOST", "three", host="example.com")
        assert (await ada.exec(session_id, show)).stdout == "one,two\n"
        async with await ada.terminal(session_id, "new") as new:
            await new.send(SHOW)
            await new.read_until(b"=one,two=\r\n", 60)
        await old.send(SHOW)
        await old.read_until(b"=,=\r\n", 60)
    found = (await ada.exec(session_id, ["env"])).stdout
    assert "three" not in found
    assert (await ada.exec(session_id, show, env={"PLAIN": "its own"})).stdout == "its own,two\n"
    async with await rig.sign_in("bob@example.com") as bob:
        his = (await bob.sessions())[0].session_id
        assert (await bob.exec(his, show)).stdout == ",\n"
    await ada.delete_secret("SECRET")
    assert (await ada.exec(session_id, show)).stdout == "one,\n"


async def test_the_shells_of_a_new_container_see_what_is_set(rig, ada, session_id):
    async with await ada.terminal(session_id, "main") as terminal:
        await terminal.send("echo rea''dy\r")
        await terminal.read_until(b"ready\r\n", 60)
        await ada.set_secret("SECRET", "kept")
        await rig.kill_container(session_id)
        await terminal.send(SHOW)
        await terminal.read_until(b"=,kept=\r\n", 60)
    await ada.hibernate(session_id)

    async def hibernated():
        return (await ada.session(session_id)).status == "hibernated"

    await wait_until(hibernated, pause_seconds=0.05)
    assert (await ada.exec(session_id, ["sh", "-c", "echo $SECRET"])).stdout == "kept\n"


async def test_a_locked_secret_is_left_out_and_named(rig, ada, session_id, tmp_path):
    await ada.set_secret("SECRET", "hidden")
    await ada.set_variable("PLAIN", "seen")
    (tmp_path / "secret.key").unlink()
    rig.deps.environments._keys = None
    script = "echo $PLAIN,$SECRET,$CODITECT_LOCKED_SECRETS"
    assert (await ada.exec(session_id, ["sh", "-c", script])).stdout == "seen,,SECRET\n"


async def test_preferences_are_the_shells_too(rig, ada, session_id):
    await ada.change_preferences(time_zone="Asia/Kathmandu", shell="/bin/sh")
    assert (await ada.exec(session_id, ["date", "+%z"])).stdout == "+0545\n"
    await ada.change_preferences(shell="/usr/bin/env")
    async with await ada.terminal(session_id, "main") as terminal:
        await terminal.send("echo is $0\r")
        await terminal.read_until(b"is bash\r\n", 60)
    await ada.change_preferences(shell="/bin/sh")
    async with await ada.terminal(session_id, "other") as terminal:
        await terminal.send("echo is $0\r")
        await terminal.read_until(b"is sh\r\n", 60)
