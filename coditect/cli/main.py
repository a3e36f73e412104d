"""Entry of the `coditect` command: the server's commands and the people's."""

from __future__ import annotations

from coditect.cli import backups, people, server, users

app = people.app
server.register(app)
app.add_typer(users.app, name="user")
app.add_typer(backups.app, name="backup")


def main() -> None:
    """Run the command line."""
    app(prog_name="coditect")


if __name__ == "__main__":
    main()
