"""Terminals of programs end when their program has died; people's stay."""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace

import pytest

from cluster.codi.agent.config import Config
from cluster.codi.agent.fdstore import Store
from cluster.codi.agent.terminals import shell
from cluster.codi.agent.terminals.journal_feed import JournalFeed
from cluster.codi.agent.terminals.terminals import Terminals
from cluster.codi.terminals.frames import Request
from tests.support.waiting import wait_until

SOON = 0.02


class QuietShell:
    """A shell that prints nothing and ends when it is hung up."""

    master = -1

    def __init__(self) -> None:
        self.child = SimpleNamespace(
            pid=1, exited=asyncio.get_running_loop().create_future(), signal_group=lambda _: None
        )

    def directory(self) -> None:
        return None

    def resize(self, cols: int, rows: int) -> None:
        pass

    def hang_up(self) -> None:
        if not self.child.exited.done():
            self.child.exited.set_result(129)


@pytest.fixture
async def terminals(monkeypatch, tmp_path):
    monkeypatch.setattr(shell, "start", lambda *_: QuietShell())
    config = Config("secret", workspace=str(tmp_path), max_terminals=4)
    made = Terminals(config, SimpleNamespace(), JournalFeed(), Store(None), alone_seconds=SOON)
    yield made
    await made.close()


def watcher(key: int) -> SimpleNamespace:
    nothing = lambda *_, **__: None  # noqa: E731
    return SimpleNamespace(
        key=key, pump=nothing, acknowledge=nothing, hold_input=nothing, inform=nothing
    )


async def names(terminals: Terminals) -> set[str]:
    return {terminal.name for terminal in terminals.all}


async def test_a_programs_terminal_that_was_left_alone_is_ended_and_a_persons_is_not(terminals):
    terminals.create("main")
    terminals.create("auto-1")
    await wait_until(partial(names, terminals), lambda found: "auto-1" not in found)
    assert await names(terminals) == {"main"}


async def test_one_that_is_watched_stays_until_it_is_left(terminals):
    terminal, _ = terminals.create("auto-1")
    terminal.protocol.number(0, {})
    terminal.attach(watcher(1), Request())
    terminals.create("auto-2")
    # The second one was left alone at two looks: the first was looked at as often.
    await wait_until(partial(names, terminals), lambda found: "auto-2" not in found)
    assert await names(terminals) == {"auto-1"}
    assert terminal.alive
    terminal.detach(1)
    await wait_until(partial(names, terminals), lambda found: not found)


async def test_a_terminal_that_was_closed_by_its_program_is_not_looked_after(terminals):
    terminals.create("auto-1")
    await terminals.delete("auto-1")
    assert not terminals._looks


async def test_a_rule_that_was_chosen_here_stays_whatever_the_journal_recalls(
    terminals, monkeypatch
):
    reported = []
    monkeypatch.setattr(JournalFeed, "sized", lambda _, terminal: reported.append(terminal))
    terminal, _ = terminals.create("main")
    terminal.recall_sizing("smallest")
    assert terminal.describe()["sizing"] == "smallest"
    terminal.choose_sizing("largest")
    assert reported == [terminal]
    terminal.recall_sizing("smallest")
    assert terminal.describe()["sizing"] == "largest"
    assert reported == [terminal, terminal]  # again, since the journal has another one
    terminal.recall_sizing("largest")
    assert reported == [terminal, terminal]


async def test_a_rule_takes_effect_at_once(terminals):
    terminal, _ = terminals.create("main")
    terminal.protocol.number(0, {})
    terminal.attach(watcher(1), Request("a", size=(140, 40)))
    terminal.attach(watcher(2), Request("b", size=(60, 90)))
    assert terminal.size == (140, 40)
    terminal.choose_sizing("smallest")
    assert terminal.size == (60, 40)
    terminal.detach(2)
    assert terminal.size == (140, 40)
