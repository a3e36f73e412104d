"""A workspace whose disk is full, through the whole API: saves are refused, all else goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.ingress_fakes import rig as make_rig

KIB = 1 << 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    path = tmp_path / "workspaces"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


async def test_a_save_that_does_not_fit_is_refused_and_works_when_there_is_space(
    small_disk, tmp_path, stage
):
    async with make_rig(tmp_path, stage) as rig, await rig.sign_in() as ada:
        session_id = (await ada.sessions())[0].session_id
        http = rig.http(ada)
        files = f"/api/v1/sessions/{session_id}/files"
        first = (await http.put(f"{files}/kept", content=b"as it was")).json()
        await http.put(f"{files}/ballast", content=b"b" * (700 * KIB))

        for _ in range(2):
            refused = await http.put(f"{files}/kept", content=b"x" * (600 * KIB))
            assert refused.status_code == 507, refused.text
            assert refused.json()["code"] == "disk_full"
            assert refused.headers["content-type"] == "application/problem+json"

        # Nothing is lost or half there, no version was given, and everything but saving goes on.
        assert (await http.get(f"{files}/kept")).content == b"as it was"
        tree = (await http.get(f"/api/v1/sessions/{session_id}/tree/")).json()["entries"]
        assert {entry["name"] for entry in tree} == {"kept", "ballast"}
        assert (await ada.exec(session_id, ["cat", "kept"])).stdout == "as it was"
        async with await ada.terminal(session_id, "main") as terminal:
            await terminal.send("cat kept; echo; echo al''ive\r")
            await terminal.read_until(b"alive\r\n")
        assert (await http.get("/api/admin/health")).status_code == 200
        async with await rig.sign_in("grace@example.com") as grace:
            assert (await grace.sessions())[0].status

        assert (await http.delete(f"{files}/ballast")).status_code == 204
        saved = await http.put(f"{files}/kept", content=b"x" * (600 * KIB))
        assert saved.status_code in {200, 201}, saved.text
        assert saved.json()["version"] > first["version"]
