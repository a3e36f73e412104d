"""Things that containers share go with the last of them, and not before."""

from __future__ import annotations

import os

import pytest

from cluster.runtime import pruning

NOW = 1_000_000.0
OLD = NOW - pruning.UNUSED_SECONDS - 1


@pytest.fixture
def place(tmp_path):
    def make(name, at=OLD):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
        os.utime(tmp_path / name, (at, at))
        return tmp_path / name

    for name in ("etc-1", "view-1", "codi-1", ".etc-draft", ".gone-1", "containers", "turns"):
        make(name)
    make("view-new", NOW - 10)
    return tmp_path


def left(place):
    return {path.name for path in place.iterdir()}


def test_what_nobody_uses_is_removed_and_nothing_else(place, monkeypatch):
    monkeypatch.setattr(pruning, "_mounted", lambda _: {"view-1"})
    assert pruning.prune([place], lambda: [1], NOW, kept=[place / "codi-1"]) == 3
    assert left(place) == {"view-1", "codi-1", "view-new", "containers", "turns"}


def test_containers_are_looked_at_only_if_there_may_be_something_to_remove(place):
    def refuse():
        raise AssertionError("looked at for nothing")

    pruning.touch(place.iterdir(), NOW)
    assert pruning.prune([place, place / "absent"], refuse, NOW) == 0


def test_what_is_about_to_be_used_stays(place, monkeypatch):
    monkeypatch.setattr(pruning, "_mounted", lambda _: set())
    pruning.touch([place / "etc-1", place / "no-such"], NOW)
    pruning.prune([place], list, NOW)
    assert "etc-1" in left(place)
    assert "view-1" not in left(place)


def test_where_it_cannot_be_seen_what_is_used_all_stays(place, monkeypatch):
    def hidden(_):
        raise PermissionError

    monkeypatch.setattr(pruning, "_mounted", hidden)
    before = left(place)
    assert pruning.prune([place], list, NOW) == 0
    assert left(place) == before


def test_a_bounded_number_goes_at_once(place, monkeypatch):
    monkeypatch.setattr(pruning, "_mounted", lambda _: set())
    monkeypatch.setattr(pruning, "MOST_AT_ONCE", 2)
    assert pruning.prune([place], list, NOW) == 2
    assert pruning.prune([place], list, NOW) == 2
    assert pruning.prune([place], list, NOW) == 1


def test_a_process_that_has_ended_uses_nothing():
    assert pruning._mounted([2**22 + 1]) == set()
    assert pruning._mounted([os.getpid()])
