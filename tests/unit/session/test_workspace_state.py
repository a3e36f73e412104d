"""The session's JSON document and its patches by RFC 7396."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors.requests import InvalidArgument, PayloadTooLarge
from actors.session.workspace_state import (
    MAX_DEPTH,
    MAX_PATCH_BYTES,
    MAX_STATE_BYTES,
    check_patch,
    merge_patch,
    patched,
)

# RFC 7396, appendix A
EXAMPLES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(("target", "patch", "result"), EXAMPLES)
def test_the_examples_of_the_rfc(target, patch, result):
    assert merge_patch(target, patch) == result


@given(target=JSON, patch=JSON)
def test_a_patch_applied_twice_is_a_patch_applied_once(target, patch):
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@pytest.mark.parametrize(
    "patch",
    [
        [],
        "x",
        None,
        {"a": float("nan")},
        {"a": "\ud800"},
        {"a": object()},
    ],
)
def test_a_patch_that_is_no_json_object_is_refused(patch):
    with pytest.raises(InvalidArgument):
        check_patch(patch)


def test_a_patch_that_is_nested_too_deep_is_refused_before_anything_walks_it():
    patch: dict = {}
    for _ in range(100_000):
        patch = {"a": patch}
    with pytest.raises(InvalidArgument):
        check_patch(patch)
    while patch:
        patch = patch["a"]  # taken apart by hand: freeing it at once would recurse as deep


def test_patch_and_state_are_bounded():
    with pytest.raises(PayloadTooLarge):
        check_patch({"a": "x" * 70_000})
    half = {"a": "x" * 40_000}
    with pytest.raises(PayloadTooLarge):
        patched(half, check_patch({"b": "x" * 40_000}))


def test_what_lies_beside_a_change_stays_however_deep():
    state = {"a": {"b": 1, "c": {"d": 2, "e": 3}}, "f": 4}
    assert merge_patch(state, {"a": {"c": {"e": None}}}) == {
        "a": {"b": 1, "c": {"d": 2}},
        "f": 4,
    }
    assert state["a"]["c"] == {"d": 2, "e": 3}


def document(size: int) -> dict:
    """A document of so many bytes as compact JSON in UTF-8."""
    return {"list": [1, 2], "text": "ä" + "x" * (size - len('{"list":[1,2],"text":"ä"}') - 1)}


def test_patch_and_state_may_be_as_large_as_documented():
    assert check_patch(document(MAX_PATCH_BYTES)) == document(MAX_PATCH_BYTES)
    with pytest.raises(PayloadTooLarge) as refused:
        check_patch(document(MAX_PATCH_BYTES + 1))
    assert (refused.value.what, refused.value.limit_bytes) == ("patch", MAX_PATCH_BYTES)
    assert patched({}, document(MAX_STATE_BYTES)) == document(MAX_STATE_BYTES)
    with pytest.raises(PayloadTooLarge) as refused:
        patched({}, document(MAX_STATE_BYTES + 1))
    assert (refused.value.what, refused.value.limit_bytes) == ("workspace_state", MAX_STATE_BYTES)


@pytest.mark.parametrize("patch", [[], {"a": float("inf")}, {"a": "\ud800"}])
def test_a_refusal_names_what_is_wrong(patch):
    with pytest.raises(InvalidArgument) as refused:
        check_patch(patch)
    assert refused.value.field == "patch"


def test_lists_are_levels_too():
    deep: list = []
    for _ in range(MAX_DEPTH):
        deep = [deep]
    with pytest.raises(InvalidArgument) as refused:
        check_patch({"a": deep})
    assert (refused.value.field, str(MAX_DEPTH) in refused.value.reason) == ("patch", True)
    fits: list = []
    for _ in range(MAX_DEPTH - 2):
        fits = [fits]
    assert check_patch({"a": fits}) == {"a": fits}
