"""Standard input of a program is passed whole, in bounded memory, or refused in words."""

from __future__ import annotations

import io

import pytest
import typer

from coditect.cli import running
from coditect.errors import TooLarge
from coditect.models import ExecResult


class Endless(io.RawIOBase):
    """Standard input that never ends; counts what was read of it."""

    given = 0

    def read(self, size: int = -1) -> bytes:
        assert 0 < size <= 1 << 20
        self.given += size
        return b"y" * size


class Limited:
    """A client of a server that takes files up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.commands: list[list[str]] = []

    def write_file(self, _session_id: str, _path: str, pieces) -> None:
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > self.limit:
                raise TooLarge(413, "payload_too_large", f"file: up to {self.limit} bytes")

    def exec(self, _session_id: str, argv, **_named) -> ExecResult:
        self.commands.append(list(argv))
        return ExecResult(0, "", "")


def test_input_that_does_not_end_is_refused_in_words(capsys):
    source, client = Endless(), Limited(10 << 20)
    with pytest.raises(typer.Exit):
        running.run(client, "s-1", ["head", "-1"], source)
    assert "standard input" in (reported := capsys.readouterr().err)
    assert str(10 << 20) in reported
    assert source.given < 12 << 20
    assert client.commands == []


def test_input_of_any_size_that_fits_reaches_the_program():
    client = Limited(10 << 20)
    for size in (0, 10, 5 << 20):
        running.run(client, "s-1", ["cat"], io.BytesIO(b"x" * size))
    assert [command[0] for command in client.commands] == ["cat", "cat", "/bin/sh"]
