"""How a replica answers Serve's questions."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from serve_app.deployment import IngressDeployment


async def test_a_replica_is_well_at_once_and_then_leaves_the_question_open():
    ask = IngressDeployment.func_or_class.check_health
    replica = SimpleNamespace(_was_asked=False)
    first, second = (asyncio.create_task(ask(replica)) for _ in range(2))
    await asyncio.sleep(0)
    assert first.done()
    assert not second.done()
    second.cancel()
