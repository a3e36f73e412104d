"""Entry of the `coditect` command: the people's commands, and the server's where it is installed."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper

import typer

from coditect.cli import environment, people, users
from coditect.errors import ClientError

SERVER_COMMANDS = ("up", "join", "status", "down", "doctor", "backup", "dev")
_OURS = frozenset({"coditect", "cluster", "actors", "serve_app"})

app = people.app
app.add_typer(users.app, name="user")
app.add_typer(environment.variables, name="env")
app.add_typer(environment.secrets, name="secret")
app.command()(environment.preferences)


def main() -> None:
    """Run the command line. Whatever goes wrong is reported in a line."""
    let_bytes_through()
    named = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    try:
        # The server's take a second to import, and the people's need none of it.
        if named is None or named in SERVER_COMMANDS:
            add_server_commands(app)
        app(prog_name="coditect")
    except (ClientError, OSError) as error:
        _end(str(error) or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - people get a line, whoever mends it the place
        place = traceback.extract_tb(error.__traceback__)[-1]
        _end(f"this is a fault: {error!r} ({place.filename}:{place.lineno})")


def let_bytes_through() -> None:
    """Print names that are no UTF-8 to the byte, as ls does, where Python would refuse to print them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")


def add_server_commands(to: typer.Typer) -> None:
    """Add the server's commands, or, where it cannot be, commands of their names that say so."""
    if sys.platform != "linux":
        reason = (
            "the server needs Linux (a virtual machine or WSL 2 will do);"
            " here is its client: coditect login --server URL"
        )
        _add_refusals(to, SERVER_COMMANDS, reason)
        return
    try:
        from coditect.cli import backups, dev, server  # noqa: PLC0415 - the client is installed without it
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in _OURS:
            raise
        reason = f"the server is not installed (no {missing.name}): pip install 'coditect-server[server]'"
        _add_refusals(to, SERVER_COMMANDS, reason)
        return
    server.register(to)
    to.add_typer(backups.app, name="backup")
    to.add_typer(dev.app, name="dev")


def _add_refusals(to: typer.Typer, names: Sequence[str], reason: str) -> None:
    def refuse(_context: typer.Context) -> None:
        _end(reason)

    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    for name in names:
        to.command(
            name, help=f"Not here: {reason}.", context_settings=settings, add_help_option=False
        )(refuse)


def _end(message: str) -> None:
    sys.stderr.write(f"coditect: {message}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
