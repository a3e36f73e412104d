"""The local terminal of `coditect shell` answers its own questions, and no others."""

import base64

import pytest

from coditect.emulator import Emulator, Questions, is_answer

QUESTIONS = [
    *(b"\x1b[c", b"\x1b[0c", b"\x1b[>c", b"\x1b[=c", b"\x1bZ", b"\x05"),
    *(b"\x1b[5n", b"\x1b[6n", b"\x1b[?6n", b"\x1b[>0q", b"\x1b[?u", b"\x1b[?2026$p", b"\x1b[4$p"),
    *(b"\x1b[18t", b"\x1b[14t", b"\x1bP$qm\x1b\\", b"\x1bP+q544e\x1b\\"),
    *(
        b"\x1b]11;?\x07",
        b"\x1b]10;?\x1b\\",
        b"\x1b]4;1;?\x07",
        b"\x1b]52;c;?\x07",
        b"\x1b]52;c;aGk=\x07",
    ),
]
NO_QUESTIONS = [
    *(
        b"text",
        b"\x1b[31m",
        b"\x1b[s\x1b[u",
        b"\x1b[>1u",
        b"\x1b[2 q",
        b"\x1b[?1049h",
        b"\x1b[8;24;80t",
    ),
    *(
        b"\x1b]0;what?\x07",
        b"\x1b]8;;http://x/?a\x1b\\",
        b"\x1bPq#0\x1b\\",
        b"\x1b[!p",
        b"\x1b]11;#fff\x07",
    ),
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_taken_out_in_whatever_pieces_it_comes(question):
    for cut in range(len(question) + 1):
        questions = Questions()
        shown = questions.take_out(b"a" + question[:cut]) + questions.take_out(
            question[cut:] + b"b"
        )
        assert shown == b"ab", cut


@pytest.mark.parametrize("output", NO_QUESTIONS)
def test_what_asks_nothing_is_shown(output):
    for cut in range(len(output) + 1):
        questions = Questions()
        assert (
            questions.take_out(output[:cut]) + questions.take_out(output[cut:] + b"b")
            == output + b"b"
        )


def test_a_beginning_without_an_end_is_not_held_for_ever():
    questions = Questions()
    shown = b"".join(questions.take_out(b"\x1b]0;" + b"x" * 3000) for _ in range(4))
    assert len(shown) >= 4000


def test_output_asks_from_the_byte_on_that_is_this_ones_to_answer():
    emulator = Emulator()
    emulator.hear({"type": "attached", "answers": True, "answers_from": 6, "sizes": True})
    assert emulator.show(0, b"ab\x1b[6n\x1b[cd") == b"ab\x1b[cd"
    emulator.hear({"type": "answers", "answers": False, "offset": 20})
    assert emulator.show(10, b"\x1b[6n") == b"\x1b[6n"
    assert emulator.show(20, b"\x1b[6n") == b""


def test_a_new_attachment_answers_nothing_until_it_is_reported_to():
    emulator = Emulator()
    emulator.hear({"type": "attached", "answers": True, "answers_from": 0})
    assert emulator.show(0, b"\x1b[c") == b"\x1b[c"
    emulator.hear({"type": "attached"})
    assert emulator.show(3, b"\x1b[c") == b""


def test_the_state_that_the_output_begins_in_is_shown():
    state = base64.b64encode(b"\x1b[?1h").decode()
    assert Emulator().hear({"type": "snapshot", "data": state}) == b"\x1b[?1h"


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        *(
            (b"\x1b[?1;2c", True),
            (b"\x1b[24;80R", True),
            (b"\x1b[?2026;2$y", True),
            (b"\x1b[I", True),
        ),
        *(
            (b"\x1b]11;rgb:0/0/0\x07", True),
            (b"\x1bP>|xterm\x1b\\", True),
            (b"\x1b[0n\x1b[1;1R", True),
        ),
        *((b"ls\r", False), (b"\x1b[A", False), (b"\x1b", False), (b"\x1b[1;1Rls", False)),
    ],
)
def test_an_answer_is_reported_from_what_a_person_types(typed, answer):
    assert is_answer(typed) is answer


def test_a_person_who_types_is_reported_of_at_once_or_now_and_then():
    emulator = Emulator()
    emulator.hear({"type": "attached", "sizes": False, "answers": False})
    assert [emulator.uses(b"x", now) for now in (0.0, 0.1)] == [True, True]
    assert not emulator.uses(b"\x1b[1;1R", 0.2)
    emulator.hear({"type": "resized", "sizes": True})
    emulator.hear({"type": "answers", "answers": True, "offset": 0})
    assert [emulator.uses(b"x", now) for now in (0.3, 2.2, 2.3)] == [False, True, False]
