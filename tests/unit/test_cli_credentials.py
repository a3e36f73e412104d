"""A kept login that cannot be used is reported in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from coditect.cli.people import app


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "coditect").mkdir()
    return tmp_path / "coditect" / "credentials.json"


FIELDS = ("url", "email", "session_id", "access_token", "refresh_token")
NUMBERS = "{" + ",".join(f'"{field}": 1' for field in FIELDS) + "}"


@pytest.mark.parametrize("content", [b"", b"[", b"[1]", b"\xff\xfe", b"{}", NUMBERS.encode()])
def test_a_broken_file_is_no_login(kept: Path, content: bytes) -> None:
    kept.write_bytes(content)
    done = CliRunner().invoke(app, ["ps"])
    assert (done.exit_code, done.stderr) == (1, "coditect: not signed in; run `coditect login`\n")


@pytest.mark.parametrize("command", [["ps"], ["logout"]])
def test_a_file_that_cannot_be_read_is_reported(kept: Path, command: list[str]) -> None:
    kept.mkdir()
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, done.stderr) == (1, f"coditect: {kept}: Is a directory\n")
