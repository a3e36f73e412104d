"""`coditect logs`: what a terminal, or a program by name, has printed, and goes on to print."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from coditect.cli.common import ServerOption, SessionOption, pick, signed_in
from coditect.errors import NotFound, TerminalClosed
from coditect.sync import Client


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(logs)


def logs(
    name: Annotated[str, typer.Argument(help="A terminal, or a program by name.")] = "main",
    session: SessionOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until it ends, or Ctrl-C.")
    ] = False,
    process: Annotated[
        bool, typer.Option("--process", "-p", help="The program, if a terminal has its name, too.")
    ] = False,
    offset: Annotated[int, typer.Option(min=0, help="First byte wanted.")] = 0,
    server: ServerOption = None,
) -> None:
    """Print what a terminal, or a program by name, has printed in your workspace, as far as it is kept."""
    with signed_in(server) as client:
        session_id = pick(client, session).session_id
        try:
            if process or name not in {each.name for each in client.terminals(session_id)}:
                _of_program(client, session_id, name, offset, follow=follow)
            elif follow:
                _follow_terminal(client, session_id, name, offset)
            else:
                for part in client.output(session_id, name, offset=offset):
                    _write(part)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def _of_program(client: Client, session_id: str, name: str, offset: int, *, follow: bool) -> None:
    """Print a program's output. A terminal that has ended, and is known by its output only, comes last."""
    try:
        client.process(session_id, name)
    except NotFound:
        for part in client.output(session_id, name, offset=offset):
            _write(part)
        return
    place = offset
    for piece in client.process_output(session_id, name, offset=offset, follow=follow):
        if piece.offset > place:
            typer.echo(f"coditect: {piece.offset - place} bytes are not kept", err=True)
        _write(piece.data)
        place = piece.offset + len(piece.data)


def _follow_terminal(client: Client, session_id: str, name: str, offset: int) -> None:
    """Look on, without a size of our own: nobody notices."""
    with client.terminal(session_id, name, offset=offset) as terminal:
        while True:
            try:
                _write(terminal.read(timeout_seconds=3600))
            except TimeoutError:
                continue
            except TerminalClosed:
                return


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
