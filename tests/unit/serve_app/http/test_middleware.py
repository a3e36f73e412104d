"""Limits of every request."""

from __future__ import annotations

from tests.support.problems import is_problem

LOGIN = "/api/v1/auth/login"


JSON = {"content-type": "application/json"}


async def test_a_body_past_the_limit_is_refused_while_it_arrives(rig):
    sent = 0

    async def endless():
        nonlocal sent
        for _ in range(300):
            sent += 1 << 16
            yield b" " * (1 << 16)

    answer = await rig.http().post(LOGIN, content=endless(), headers=JSON)
    is_problem(answer, 413, "payload_too_large")
