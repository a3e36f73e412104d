"""Checks of problem documents (RFC 9457)."""

from __future__ import annotations

import httpx


def is_problem(answer: httpx.Response, status: int, code: str | None = None) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail", "code", "instance"} <= document.keys()
    assert code is None or document["code"] == code
    assert "Traceback" not in answer.text
    return document
