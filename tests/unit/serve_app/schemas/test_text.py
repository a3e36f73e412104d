"""Paths and arguments of programs are taken to the byte, and refused where they stand for none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from serve_app.schemas.text import MAX_PATH, AnyText, SystemText, VariableName, WorkspacePath

PATH, SYSTEM = TypeAdapter(WorkspacePath), TypeAdapter(SystemText)


@given(st.binary(min_size=1, max_size=50))
def test_any_bytes_are_a_path_and_one_text(raw):
    text = raw.decode("utf-8", "surrogateescape")
    assert PATH.validate_python(text).encode("utf-8", "surrogateescape") == raw


def test_bytes_that_are_utf8_after_all_become_their_characters():
    assert PATH.validate_python("\udcc3\udca4") == "\u00e4"


@pytest.mark.parametrize(
    "text", ["", "x" * (MAX_PATH + 1), "\u20ac" * (MAX_PATH // 3 + 1), "\ud800"]
)
def test_a_path_that_is_empty_too_long_or_no_bytes_is_refused(text):
    with pytest.raises(ValidationError):
        PATH.validate_python(text)


def test_the_longest_path_is_counted_in_bytes():
    assert PATH.validate_python("x" * MAX_PATH)
    assert PATH.validate_python("\u20ac" * (MAX_PATH // 3))


def test_a_string_of_the_system_has_no_nul():
    assert SYSTEM.validate_python("any\n\udcff") == "any\n\udcff"
    for text in ("a\0b", "\udfff"):
        with pytest.raises(ValidationError):
            SYSTEM.validate_python(text)
    assert TypeAdapter(AnyText).validate_python("a\0b") == "a\0b"


@pytest.mark.parametrize("name", ["", "A=B", "A\0"])
def test_a_name_of_a_variable_has_no_equals_sign(name):
    with pytest.raises(ValidationError):
        TypeAdapter(VariableName).validate_python(name)
