"""What the node makes of an answer to ``/health``."""

from __future__ import annotations

from cluster.runtime import health


async def test_an_answer_that_is_nested_too_deeply_is_none(monkeypatch):
    async def exchange(*args, **options):
        return 200, b"[" * 60_000

    monkeypatch.setattr(health, "exchange", exchange)
    assert await health.ask_health("http://codi", "secret") is None
