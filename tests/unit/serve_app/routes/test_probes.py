"""The probes of a replica."""

from __future__ import annotations

from coditect import AsyncClient


async def test_a_replica_is_alive_whatever_is_down_and_ready_when_it_can_serve(rig):
    http = rig.http()
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "down": []})
    assert ready.headers["cache-control"] == "no-store"
    async with AsyncClient(rig.url) as client:
        assert await client.is_alive()
        assert await client.is_ready()
        del rig.actors.objects["pool-node-1"]
        assert (await http.get("/healthz")).status_code == 200
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "down", "down": ["pool"]})
        assert not await client.is_ready()
