"""Commands of SSH: ssh-config, ssh-proxy, ssh-key."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from coditect.cli import credentials as stored
from coditect.cli import ssh_config
from coditect.cli.common import JsonOption, ServerOption, errors, fail, named, print_json, signed_in
from coditect.client import AsyncClient
from coditect.errors import NotFound
from coditect.models import SshKey
from coditect.sync import Client

_CHUNK = 64 << 10
_DEFAULT_KEYS = ("id_ed25519.pub", "id_ecdsa.pub", "id_ed25519_sk.pub", "id_rsa.pub")

keys = typer.Typer(no_args_is_help=True, help="Public keys with which SSH clients sign in.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("ssh-config")(config)
    app.command("ssh-proxy")(proxy)
    app.add_typer(keys, name="ssh-key")


@keys.command("add")
def add(
    file: Annotated[
        Path | None, typer.Argument(help="A .pub file, - for standard input; yours when left out.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its name; the key's comment.")] = None,
    server: ServerOption = None,
) -> None:
    """Add a public key to your account."""
    with errors():
        text = sys.stdin.read() if str(file) == "-" else (file or _own_key()).read_text()
    with signed_in(server) as client:
        key = client.add_ssh_key(text, name)
    typer.echo(f"added {key.name}, {key.fingerprint}, {key.key_id}")


@keys.command("ls")
def ls(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """List your public keys."""
    with signed_in(server) as client:
        found = client.ssh_keys()
    if as_json:
        print_json(found)
        return
    table = Table("id", "name", "fingerprint", "added", "last used", box=None)
    for key in found:
        used = "never" if key.last_used_at is None else _date(key.last_used_at)
        table.add_row(key.key_id, key.name, key.fingerprint, _date(key.created_at), used)
    Console(width=160).print(table)


@keys.command("rm")
def rm(
    key: Annotated[str, typer.Argument(help="Id, name or fingerprint of a key.")],
    server: ServerOption = None,
) -> None:
    """Take a public key away; connections that signed in by it end."""
    with signed_in(server) as client:
        found = [each for each in client.ssh_keys() if key in _names(each)]
        if len(found) != 1:
            fail(f"{len(found) or 'no'} keys are called {key!r}")
        client.remove_ssh_key(found[0].key_id)
    typer.echo(f"removed {found[0].name}, {found[0].fingerprint}")


def config(
    write: Annotated[
        bool, typer.Option("--write", help="Write it where ssh finds it, instead of printing it.")
    ] = False,
    server: ServerOption = None,
) -> None:
    """Print the configuration with which `ssh coditect.SESSION` works, and editors that use ssh.

    No key is needed: who is signed in here is signed in there.
    """
    with signed_in(server) as client:
        host_key = client.ssh_server().host_key
        url = client.url
    known_hosts = stored.default_path().with_name("known_hosts")
    with errors():
        known = known_hosts.read_text() if known_hosts.exists() else ""
        _replace(known_hosts, ssh_config.with_known_host(known, url, host_key))
    text = ssh_config.block(url, _own_command(), str(known_hosts))
    if not write:
        typer.echo(text, nl=False)
        return
    place = Path.home() / ".ssh"
    with errors():
        place.mkdir(mode=0o700, exist_ok=True)
        _replace(place / "coditect_config", text)
        main = place / "config"
        before = main.read_text() if main.exists() else ""
        if (after := ssh_config.with_include(before)) != before:
            _replace(main.resolve(), after)
    typer.echo(f"written to {place / 'coditect_config'}; now: ssh {ssh_config.PREFIX}default")


def proxy(
    session: Annotated[str, typer.Argument(help="Session id or name, as in coditect.NAME.")],
    server: ServerOption = None,
) -> None:
    """Carry an SSH client's bytes over the server's own address (for ProxyCommand)."""
    with signed_in(server) as client:
        session_id = _session_id(client, ssh_config.session_name(session))
        url, token = client.url, client.access_token
    with errors():
        asyncio.run(_carry(url, token, session_id))


def _session_id(client: Client, wanted: str) -> str:
    try:
        return named(client, wanted).session_id
    except NotFound:
        if wanted not in {"", "default"}:
            raise
        return client.open_session().session_id


async def _carry(url: str, token: str | None, session_id: str) -> None:
    # Without the refresh token: this lasts, and another command will have traded it meanwhile.
    async with AsyncClient(url, access_token=token) as client:
        output = os.dup(sys.stdout.fileno())
        async for piece in client.ssh_stream(session_id, _typed()):
            await asyncio.to_thread(_write, output, piece)


async def _typed() -> AsyncIterator[bytes]:
    """Yield what comes on standard input, be it a file, a pipe or a socket."""
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    while True:
        ready: asyncio.Future[None] = loop.create_future()
        try:
            loop.add_reader(descriptor, _set, ready)
        except PermissionError:  # a file is always ready (epoll_ctl(2))
            ready.set_result(None)
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)
        data = os.read(descriptor, _CHUNK)
        if not data:
            return
        yield data


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _own_key() -> Path:
    place = Path.home() / ".ssh"
    found = next((place / name for name in _DEFAULT_KEYS if (place / name).exists()), None)
    if found is None:
        fail("no public key in ~/.ssh; make one with ssh-keygen -t ed25519")
    return found


def _own_command() -> list[str]:
    found = shutil.which("coditect")
    return [found] if found else [sys.executable, "-m", "coditect.cli.main"]


def _names(key: SshKey) -> set[str]:
    return {key.key_id, key.name, key.fingerprint}


def _date(at: float) -> str:
    return dt.datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")


def _replace(path: Path, text: str) -> None:
    """Write a file in one step, for its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, draft = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(draft).replace(path)
