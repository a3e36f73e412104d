"""Backups are listed and started by administrators, and a start is in the audit trail."""

from __future__ import annotations

import pytest

from tests.support.problems import is_problem

NONE = {"running": False, "progress": "", "error": None, "backups": []}


@pytest.fixture
def calls(rig, monkeypatch):
    """Answer for the archive; return the calls that it got."""
    made: list[str] = []
    call = rig.deps.actors.call

    async def archive(name, called, *rest, **named):
        if called.__name__ not in {"backups", "start_backup"}:
            return await call(name, called, *rest, **named)
        made.append(called.__name__)
        return NONE

    monkeypatch.setattr(rig.deps.actors, "call", archive)
    return made


async def test_an_administrator_starts_a_backup_which_is_recorded(rig, admin, calls):
    http = rig.http(admin)
    listed = await http.get("/api/admin/backups")
    assert (listed.status_code, listed.json()["backups"]) == (200, [])
    assert (await http.post("/api/admin/backups")).status_code == 202
    assert calls == ["backups", "start_backup", "backups"]
    trail = (await http.get("/api/admin/audit?action=backup.create")).json()["entries"]
    assert [entry["resource"] for entry in trail] == ["backup"]


async def test_nobody_else_reads_or_starts_any(rig, ada, calls):
    is_problem(await rig.http(ada).get("/api/admin/backups"), 403, "permission_denied")
    is_problem(await rig.http(ada).post("/api/admin/backups"), 403, "permission_denied")
    assert calls == []
