"""Administrators in other people's sessions are noted once a while."""

from __future__ import annotations

from serve_app.auth.admin_visits import AGAIN_SECONDS, AdminVisits


def test_an_entry_is_new_again_after_a_while_or_by_another_login():
    now = 0.0
    entries = AdminVisits(lambda: now)
    assert entries.is_new("login", "s1")
    assert not entries.is_new("login", "s1")
    assert entries.is_new("login", "s2")
    assert entries.is_new("another", "s1")
    now = AGAIN_SECONDS - 1
    assert not entries.is_new("login", "s1"), "who stays has not come back"
    now = 2 * AGAIN_SECONDS
    assert entries.is_new("login", "s1")
