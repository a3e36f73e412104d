"""Leases of a replica's sockets are renewed in time and given back."""

from __future__ import annotations

from actors.core.errors.sessions import NotBound
from serve_app.sessions.attachments import Attachments
from tests.fakes.gateway_fakes import OWNED, built


async def test_leases_are_renewed_in_time_and_given_back_once():
    gateway, actors, _, clock = built(OWNED, a1=[None])
    attachments = Attachments(gateway, clock, ttl=9.0)
    await attachments.attach("s1", "l1", "main")
    await attachments.round()
    assert [(m, args) for _, m, args, _ in actors.calls] == [("attach", ("s1", "l1", "main"))]
    clock.time += 3.0
    await attachments.round()
    await attachments.round()
    await attachments.detach("s1", "l1")
    await attachments.detach("s1", "l1")
    assert [m for _, m, _, _ in actors.calls] == ["attach", "attach", "detach"]
    clock.time += 100.0
    await attachments.round()
    assert len(actors.calls) == 3


async def test_the_lease_of_an_ended_session_is_dropped():
    gateway, actors, ledger, clock = built(OWNED, a1=[None])
    attachments = Attachments(gateway, clock, ttl=9.0)
    await attachments.attach("s1", "l1")
    clock.time += 5.0
    ledger.records.clear()
    actors.script = {"session-a1": [NotBound("a1", "s1")]}
    await attachments.round()
    assert len(attachments) == 0
