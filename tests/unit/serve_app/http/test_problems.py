"""Every error has a problem document, whatever is in it."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors.base import CoditectError, IllegalTransition
from serve_app.http import problems


def every_error(kind: type[CoditectError] = CoditectError):
    yield kind
    for child in kind.__subclasses__():
        if child.__module__.startswith("actors.core.errors."):
            yield from every_error(child)


def made(kind: type[CoditectError]) -> CoditectError:
    arguments = {
        "InvalidArgument": ("f", "r"),
        "PreconditionFailed": ("w", "e", "a"),
        "QuotaExceeded": ("files", 1, 1, 1),
        "ContainersExceeded": (1, 1, ("default",)),
    }
    for attempt in (
        arguments.get(kind.__name__, ()),
        (),
        ("a",),
        ("a", 1),
        ("a", 1, 2),
        ("a",) * 4,
    ):
        try:
            error = kind(*attempt)
            str(error)
        except (TypeError, ValueError):
            continue
        return error
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", sorted(set(every_error()), key=lambda kind: kind.__name__))
def test_every_error_has_a_document(kind):
    error = made(kind)
    body, headers = problems.from_error(pickle.loads(pickle.dumps(error)), "/x")
    assert body["status"] == problems.status_of(error)
    assert body["code"] == kind.code
    if error.retryable:
        assert int(headers["retry-after"]) >= 1
    problems.encode(body)


def test_bugs_are_not_explained_to_callers():
    error = IllegalTransition("session", "ready", "secret inside", ())
    body, _ = problems.from_error(error, "/x")
    assert body["status"] == 500
    assert "secret" not in body["detail"]


@given(st.text())
def test_any_text_can_stand_in_a_document(text):
    body = problems.document(400, "c", text, text)
    problems.encode(body)
    assert body["detail"].isprintable()
