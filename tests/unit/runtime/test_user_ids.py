from __future__ import annotations

import os

import pytest

from actors.core.errors.base import Unavailable
from cluster.id_range import IdRange
from cluster.runtime.ids import user_ids
from cluster.runtime.ids.user_ids import parse_map, reserve
from cluster.runtime.root.tables import MOST_OPEN_FILES, open_files, tables

SMALL = IdRange(1_900_200_000, 7)


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    taken: set[int] = set()
    monkeypatch.setattr(user_ids, "in_use", lambda: frozenset(taken))
    return taken


def test_a_range_is_written_as_in_subuid():
    assert IdRange.parse("100000:65536") == IdRange(100_000, 65_536)
    assert IdRange(10_000, 4).on_disk == 10_000
    for text in (
        "",
        "5",
        "1000:1",
        "1000:2",
        "999:10",
        "2147483647:2",
        "a:b",
        "1000:-5",
        "1000:10:3",
    ):
        with pytest.raises(ValueError, match=r"FIRST:COUNT|three ids or more"):
            IdRange.parse(text)


def test_every_id_but_the_first_is_given_and_none_twice(tmp_path):
    order = list(SMALL.after(7))
    assert sorted(order) == [1_900_200_001, 1_900_200_002, 1_900_200_003]
    assert next(iter(SMALL.after(1))) == 1_900_200_002
    agents = {SMALL.agent(user) for user in order}
    assert agents == {1_900_200_004, 1_900_200_005, 1_900_200_006}
    assert agents < set(SMALL.ids)


def test_reserved_ids_are_nobody_elses_until_they_are_let_go(tmp_path):
    locks = tmp_path / "deep" / "locks"
    with reserve(SMALL, 0, locks) as first, reserve(SMALL, 0, locks) as second:
        assert (first, second) == (1_900_200_001, 1_900_200_002)
        with (
            reserve(SMALL, 0, locks),
            pytest.raises(Unavailable, match="all 3 are in use"),
            reserve(SMALL, 0, locks),
        ):
            pass
    with reserve(SMALL, 0, locks) as again:
        assert again == first


def test_an_id_that_a_process_has_is_passed_over(tmp_path, nobody):
    nobody |= {1_900_200_001, 1_900_200_002}
    with reserve(SMALL, 0, tmp_path / "locks") as found:
        assert found == 1_900_200_003


def test_an_old_answer_gives_no_id(tmp_path, monkeypatch):
    """The former holder of the second id has a process by now, which the first answer did not show."""
    answers = [{1_900_200_001}, {1_900_200_001, 1_900_200_002}]
    monkeypatch.setattr(user_ids, "in_use", lambda: answers.pop(0) if answers else {1_900_200_002})
    with reserve(SMALL, 0, tmp_path / "locks") as found:
        assert found == 1_900_200_003


def test_the_reservation_of_a_process_that_dies_is_gone(tmp_path):
    locks = tmp_path / "locks"
    child = os.fork()
    if child == 0:
        with reserve(SMALL, 0, locks):
            os._exit(0)
    os.waitpid(child, 0)
    with reserve(SMALL, 0, locks) as found:
        assert found == 1_900_200_001


def test_maps_are_read_with_the_ends_of_what_is_long():
    text = "         0          0          1\n      1000 1900000007          2\n 5 100000 65536\n"
    assert set(parse_map(text)) == {0, 1900000007, 1900000008, 100000, 165535}


def test_all_of_one_container_leave_a_quarter_of_the_open_files():
    for file_max in (100_000, 2_466_193, 2**63 - 1):
        for pids in (16, 512, 4096):
            each = open_files(file_max, pids)
            assert 256 <= each <= MOST_OPEN_FILES
            assert each == 256 or each * pids <= file_max * 3 // 4


def test_shares_follow_the_memory_of_the_container():
    shares = tables(
        ptys=7, pids=64, memory_bytes=1 << 30, tmp_bytes=1 << 28, shm_bytes=4096, file_max=1 << 40
    )
    assert (shares.ptys, shares.shm_pages) == (7, 1 << 18)
    assert (shares.tmp_inodes, shares.shm_inodes) == (1 << 15, 1024)


def test_ids_are_given_in_turn_and_a_start_that_is_named_moves_nothing(tmp_path):
    given = []
    for start in (None, None, 0, None, None):
        with reserve(SMALL, start, tmp_path / "locks") as found:
            given.append(found - SMALL.first)
    assert given == [1, 2, 1, 3, 1]
    other = IdRange(1_900_300_000, 7)
    with reserve(other, None, tmp_path / "locks") as found:
        assert found == other.first + 1


def test_an_id_of_which_something_is_left_is_passed_over(tmp_path, nobody):
    with reserve(SMALL, 0, tmp_path / "locks", taken={SMALL.first + 1}) as found:
        assert found == SMALL.first + 2
    nobody.add(SMALL.agent(SMALL.first + 1))
    with reserve(SMALL, 0, tmp_path / "locks") as found:
        assert found == SMALL.first + 2


def test_ids_that_have_keys_are_in_use():
    text = "    0:     9 8/8 3/1000000 40/25000000\n1900000007:     2 2/2 2/200 18/20000\n"
    assert list(user_ids.parse_key_users(text)) == [0, 1_900_000_007]
