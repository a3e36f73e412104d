"""Leases of attached clients."""

from __future__ import annotations

import pytest

from actors.core.errors.limits import TooManyRequests
from actors.session.attachments import Attachments


def test_a_client_is_new_once_and_then_renews():
    table = Attachments(20.0)
    assert table.attach("c", 0.0)
    assert not table.attach("c", 10.0)
    assert table.next_expiry == 30.0


def test_a_lease_that_is_not_renewed_ends():
    table = Attachments(20.0)
    table.attach("a", 0.0)
    table.attach("b", 5.0)
    assert table.expire(19.9) == []
    assert table.expire(20.0) == ["a"]
    assert "b" in table
    assert table.next_expiry == 25.0


def test_a_client_that_comes_back_after_its_lease_is_new():
    table = Attachments(20.0)
    table.attach("a", 0.0)
    assert table.attach("a", 20.0)


def test_detaching_is_idempotent():
    table = Attachments(20.0)
    table.attach("a", 0.0)
    assert table.detach("a")
    assert not table.detach("a")
    assert table.next_expiry is None


def test_the_table_is_bounded_and_renewals_still_pass():
    table = Attachments(20.0, limit=2)
    table.attach("a", 0.0)
    table.attach("b", 0.0)
    with pytest.raises(TooManyRequests):
        table.attach("c", 1.0)
    assert not table.attach("a", 1.0)
    assert table.attach("c", 20.5)


def test_who_is_refused_is_reported_when_a_lease_will_have_ended():
    table = Attachments(20.0, limit=1)
    table.attach("a", 0.0)
    with pytest.raises(TooManyRequests) as refused:
        table.attach("b", 1.0)
    assert (refused.value.what, refused.value.retry_after_seconds) == ("attached clients", 20.0)
