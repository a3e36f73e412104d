"""Of several clients of a terminal one sizes it, and one answers its programs."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cluster.codi.agent.terminals.viewers import _REMEMBERED, Role, Viewers, Window

DESK, PHONE = (140, 40), (40, 20)


def page(viewers, key, size=DESK, *, end=0, client=None):
    viewers.add(key, client or f"c{key}", emulator=True, size=size, end=end)


class TestAnswers:
    def test_one_answers_and_only_what_comes_from_then_on(self):
        viewers = Viewers()
        page(viewers, 1, end=500)
        page(viewers, 2, end=600)
        assert viewers.role(1) == Role(answers=True, answers_from=500, sizes=True)
        assert not viewers.role(2).answers

    def test_another_takes_over_where_the_output_ended_when_it_left(self):
        viewers = Viewers()
        page(viewers, 1, end=500)
        page(viewers, 2, end=600)
        viewers.remove(1, end=700)
        assert viewers.role(2) == Role(answers=True, answers_from=700, sizes=True)

    def test_a_client_without_an_emulator_never_answers(self):
        viewers = Viewers()
        viewers.add(1, "websocat", emulator=False, size=DESK, end=0)
        assert not viewers.role(1).answers
        viewers.use(1, end=5)
        assert not viewers.role(1).answers

    def test_who_uses_it_answers_from_there_and_the_other_until_there(self):
        viewers = Viewers()
        page(viewers, 1, end=0)
        page(viewers, 2, end=10)
        viewers.use(2, end=100)
        assert viewers.role(2) == Role(answers=True, answers_from=100, sizes=True)
        assert viewers.role(1) == Role(answers=False, answers_from=100, sizes=False)

    def test_one_that_is_looked_at_answers_before_one_that_is_hidden(self):
        viewers = Viewers()
        page(viewers, 1, size=None, end=0)
        viewers.use(1, end=1)
        page(viewers, 2, end=10)
        assert viewers.role(2).answers
        viewers.show(2, None, end=20)
        assert viewers.role(1) == Role(answers=True, answers_from=20, sizes=False)

    def test_who_began_the_shell_answers_its_first_question(self):
        viewers = Viewers()
        page(viewers, 1, end=530)
        viewers.begin_at(1, 500)
        assert viewers.role(1).answers_from == 500
        page(viewers, 2, end=540)
        viewers.begin_at(2, 500)  # not its to answer
        assert viewers.role(1).answers_from == 500


class TestSize:
    def test_a_window_that_opens_takes_nothing_from_the_one_that_is_worked_in(self):
        viewers = Viewers()
        page(viewers, 1, DESK)
        page(viewers, 2, PHONE)
        assert viewers.size == DESK
        viewers.use(2, end=0)
        assert viewers.size == PHONE
        page(viewers, 3, DESK)
        assert viewers.size == PHONE

    def test_what_does_not_show_the_terminal_does_not_count_for_its_size(self):
        viewers = Viewers()
        page(viewers, 1, size=None)
        viewers.use(1, end=0)
        assert viewers.size is None
        page(viewers, 2, PHONE)
        assert viewers.size == PHONE
        viewers.show(2, None, end=0)
        assert (viewers.size, viewers.windows(2)) == (None, ())

    def test_one_that_is_shown_again_has_it_back_if_nobody_else_used_it(self):
        viewers = Viewers()
        page(viewers, 1, DESK)
        viewers.use(1, end=0)
        page(viewers, 2, PHONE)
        viewers.show(1, None, end=0)
        assert viewers.size == PHONE
        viewers.show(1, DESK, end=0)
        assert viewers.size == DESK

    def test_a_client_that_comes_back_is_as_recently_used_as_it_was(self):
        viewers = Viewers()
        page(viewers, 1, DESK, client="desk")
        page(viewers, 2, PHONE)
        viewers.use(1, end=0)
        viewers.remove(1, end=0)
        assert viewers.size == PHONE
        page(viewers, 3, DESK, client="desk")
        assert viewers.size == DESK

    def test_a_client_of_the_bare_protocol_uses_it_by_saying_a_size(self):
        viewers = Viewers()
        page(viewers, 1, DESK)
        viewers.add(2, "tool", emulator=False, size=(80, 24), end=0)
        assert viewers.size == DESK
        viewers.show(2, (100, 30), end=0)
        assert viewers.size == (100, 30)


class TestRules:
    def test_one_of_two_that_show_it_whole_learns_that_it_has_its_size(self):
        viewers = Viewers()
        page(viewers, 1, DESK)
        page(viewers, 2, PHONE)
        viewers.use(1, end=0)
        assert (viewers.role(1).sizes, viewers.role(2).sizes) == (True, False)
        viewers.rule = "smallest"
        assert viewers.size == PHONE
        assert (viewers.role(1).sizes, viewers.role(2).sizes) == (False, True)
        viewers.use(1, end=0)
        assert viewers.size == PHONE
        viewers.show(2, None, end=0)
        assert viewers.size == DESK

    def test_where_the_size_is_no_windows_none_has_it_and_both_set_it(self):
        viewers = Viewers()
        page(viewers, 1, (140, 30))
        page(viewers, 2, (40, 60))
        viewers.rule = "smallest"
        assert viewers.size == (40, 30)
        assert not viewers.role(1).sizes
        assert not viewers.role(2).sizes
        assert [window.sets for window in viewers.windows(1)] == [True, True]

    def test_everybody_is_reported_of_the_windows_that_show_it_and_which_is_theirs(self):
        viewers = Viewers()
        viewers.add(1, "a", emulator=True, size=DESK, end=0, label="Firefox on Linux")
        viewers.add(2, "b", emulator=True, size=None, end=0, label="hidden")
        viewers.add(3, "c", emulator=True, size=PHONE, end=0, label="Safari on iPhone")
        viewers.use(3, end=0)
        desk = Window("Firefox on Linux", *DESK, sets=False, own=True)
        phone = Window("Safari on iPhone", *PHONE, sets=True, own=False)
        assert viewers.windows(1) == (desk, phone)
        assert [window.own for window in viewers.windows(3)] == [False, True]
        assert [window.own for window in viewers.windows(2)] == [False, False]

    def test_of_very_many_windows_those_are_reported_that_set_the_size_and_the_last_used(self):
        viewers = Viewers()
        for key in range(40):
            page(viewers, key, (100 + key, 30))
        for key in range(40):
            viewers.use(key, end=0)
        viewers.rule = "largest"
        viewers.show(7, (500, 99), end=0)
        reported = viewers.windows(7)
        assert [window.cols for window in reported] == [500, *range(125, 140)]
        assert [window.sets for window in reported] == [True] + [False] * 15


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "show", "hide", "use"]),
        st.integers(0, 5),
        st.booleans(),
    ),
    max_size=60,
)


@given(STEPS)
def test_one_answers_whenever_one_can_and_no_byte_is_answered_by_two(steps):
    """Each connection's answered ranges, as reported to it, never overlap another's."""
    viewers, present, end = Viewers(), {}, 0
    answered: list[tuple[int, int]] = []
    since: dict[int, int] = {}
    for step, (what, key, flag) in enumerate(steps):
        end += step
        match what:
            case "add" if key not in present:
                viewers.add(key, f"c{key}", emulator=flag, size=DESK if step % 2 else None, end=end)
                present[key] = flag
            case "remove":
                viewers.remove(key, end)
                present.pop(key, None)
            case "show":
                viewers.show(key, PHONE, end)
            case "hide":
                viewers.show(key, None, end)
            case "use":
                viewers.use(key, end)
        now = {k: viewers.role(k) for k in present}
        stopped = [k for k in since if k not in now or not now[k].answers]
        answered += [(since.pop(k), now[k].answers_from if k in now else end) for k in stopped]
        since.update({k: role.answers_from for k, role in now.items() if role.answers})
        assert len(since) == (1 if any(present.values()) else 0)
    answered += [(begin, end + 1) for begin in since.values()]
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(sorted(answered)))


def test_a_page_that_only_changes_its_size_is_not_used_by_that():
    viewers = Viewers()
    page(viewers, 1, DESK)
    page(viewers, 2, PHONE)
    viewers.use(1, end=0)
    viewers.show(2, (50, 25), end=0)
    assert viewers.size == DESK
    viewers.use(9, end=0)  # of a connection that has gone
    assert viewers.size == DESK


def test_of_clients_that_went_those_are_known_again_that_were_used_last():
    viewers = Viewers()
    for number in range(_REMEMBERED + 1):
        page(viewers, number, DESK, client=f"c{number}")
        viewers.use(number, end=0)
        viewers.remove(number, end=0)
    page(viewers, 100, DESK, client="new")
    page(viewers, 101, PHONE, client="c0")  # so long ago that it is as new as the other
    assert viewers.size == DESK
    page(viewers, 102, PHONE, client="c1")
    assert viewers.size == PHONE
