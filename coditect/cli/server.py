"""Commands for operators: up, join, status, down, doctor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actors.core.errors.base import CoditectError
from actors.core.errors.requests import InvalidArgument
from cluster.layout import Layout, ServerFile
from cluster.runtime.processes import is_alive, send_signal
from cluster.settings import RuntimeName, Settings, StoreName, forget_secrets, load
from coditect.cli.common import JsonOption, fail, print_json

if TYPE_CHECKING:
    from cluster.bringup.server import Server

CONDUCTOR = "coditect.cli.conductor"
API = "serve_app.api"
DETACH_SECONDS = 300.0

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the server keeps everything that lasts.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, join, status, down, doctor):
        app.command()(command)


def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks one.")] = None,
    data_dir: DataDir = None,
    pool_size: Annotated[int | None, typer.Option(help="Warm slots to keep ready.")] = None,
    runtime: Annotated[RuntimeName | None, typer.Option(help="What runs containers.")] = None,
    store: Annotated[StoreName | None, typer.Option(help="What keeps what must last.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready.")] = False,
) -> None:
    """Start a server and stay in the foreground until Ctrl-C or SIGTERM."""
    options = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "pool_size": pool_size,
        "runtime": runtime,
        "store": store,
    }
    settings = load_settings({name: value for name, value in options.items() if value is not None})
    if detach:
        _up_detached(settings)
        return
    # Imported here: the other commands need no Ray.
    from cluster.bringup.server import Server  # noqa: PLC0415

    _run(settings, Server)


def join(
    head: Annotated[
        str, typer.Argument(help="The head's address:port, as `coditect up` prints it.")
    ],
    token_file: Annotated[
        Path | None,
        typer.Option(help="Copy of cluster/node-token.pem of the head; kept after the first time."),
    ] = None,
    labels: Annotated[str | None, typer.Option(help="What it is called by: name=value,…")] = None,
    node_address: Annotated[
        str | None, typer.Option(help="This machine's address in the nodes' network.")
    ] = None,
    data_dir: DataDir = None,
    pool_size: Annotated[int | None, typer.Option(help="Warm slots to keep ready here.")] = None,
) -> None:
    """Join a server as another node of it, and stay in the foreground until Ctrl-C or SIGTERM."""
    options = {
        "head": head,
        "node_labels": labels,
        "node_address": node_address,
        "data_dir": data_dir,
        "pool_size": pool_size,
    }
    settings = load_settings(options)
    from cluster.bringup.joined import JoinedServer  # noqa: PLC0415

    _run(settings, partial(JoinedServer, token=token_file))


def _run(settings: Settings, make: Callable[..., Server]) -> None:
    from cluster.bringup.progress import Progress  # noqa: PLC0415

    forget_secrets(os.environ)
    progress = Progress(Console(soft_wrap=True))
    try:
        make(settings, conductor=CONDUCTOR, api=API, progress=progress).run()
    except (CoditectError, TimeoutError) as error:
        fail(str(error))
    except Exception as error:  # noqa: BLE001 - an operator gets a line, whoever mends it the log
        log = Layout(settings.data_dir).log_dir / "crash.log"
        try:
            log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            log.write_text(traceback.format_exc())
        except OSError as unwritable:
            fail(f"this is a fault of the server: {error!r}; no log of it: {unwritable}")
        fail(f"this is a fault of the server: {error!r}; see {log}")


def status(
    data_dir: DataDir = None,
    as_json: JsonOption = False,
) -> None:
    """Report whether the server runs and how its components are. Exit code 1 when it does not."""
    layout = _layout(data_dir)
    server = layout.read_server()
    report: dict[str, Any] = {"running": server is not None, "data_dir": str(layout.data_dir)}
    if server is not None:
        report |= {
            "ready": bool(server.url),
            "url": server.url,
            "pid": server.pid,
            "uptime_seconds": round(time.time() - server.started_at, 1),
            "dashboard_url": server.dashboard_url,
            "ssh": _ssh(layout),
            "health": _health(server),
        }
    if as_json:
        print_json(report)
    else:
        _print_status(report)
    raise typer.Exit(0 if server is not None else 1)


def down(
    data_dir: DataDir = None,
    keep_containers: Annotated[
        bool, typer.Option("--keep-containers", help="Let containers run on for the next server.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Limit in seconds.")] = 60.0,
) -> None:
    """End the server of a data directory."""
    layout = _layout(data_dir)
    server = layout.read_server()
    if server is None:
        fail(f"no server runs with {layout.data_dir}")
    if keep_containers:
        layout.keep_file.touch()
    send_signal(server.identity, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while is_alive(server.identity):
        if time.monotonic() > deadline:
            fail(f"pid {server.pid} has not ended within {timeout:g} s")
        time.sleep(0.05)
    typer.echo("ended")


def doctor(data_dir: DataDir = None, as_json: JsonOption = False) -> None:
    """Check what this machine offers and say what to do about each lack."""
    from cluster.doctor.probe import fatal, run_checks, store_check  # noqa: PLC0415

    settings = load_settings({} if data_dir is None else {"data_dir": data_dir})
    checks = [*run_checks(settings), store_check(settings)]
    if as_json:
        print_json(checks)
        raise typer.Exit(1 if fatal(checks) else 0)
    table = Table("", "check", "found", box=None)
    signs = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "error": "[red]✗[/red]"}
    for check in checks:
        table.add_row(signs[check.verdict], check.name, escape(check.found))
    console = Console()
    console.print(table)
    # Not in the table: commands are to be copied, and a cell would break them.
    for check in checks:
        if check.advice:
            sign = signs[check.verdict]
            console.print(f"{sign} {check.name}: {escape(check.advice)}", soft_wrap=True)
    raise typer.Exit(1 if fatal(checks) else 0)


def _up_detached(settings: Settings) -> None:
    layout = Layout(settings.data_dir)
    try:
        layout.prepare()
    except CoditectError as error:
        fail(str(error))
    log = layout.log_dir / "server.log"
    arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
    with log.open("ab") as output:
        begin = output.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "coditect.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + DETACH_SECONDS
    with log.open("rb") as said:
        said.seek(begin)
        while time.monotonic() < deadline:
            sys.stdout.write(said.read().decode(errors="replace"))
            sys.stdout.flush()
            code = child.poll()
            if code is not None:
                raise typer.Exit(code or 1)
            server = layout.read_server()
            if server is not None and server.pid == child.pid and server.url:
                time.sleep(0.2)
                sys.stdout.write(said.read().decode(errors="replace"))
                return
            time.sleep(0.1)
    os.kill(child.pid, signal.SIGTERM)
    fail(f"not ready within {DETACH_SECONDS:g} s; see {log}")


def load_settings(options: dict[str, Any]) -> Settings:
    """Return the settings; options that are None were not given. Ends the command when one is wrong."""
    try:
        return load({name: value for name, value in options.items() if value is not None})
    except InvalidArgument as error:
        fail(str(error))


def _layout(data_dir: Path | None) -> Layout:
    return Layout(load_settings({} if data_dir is None else {"data_dir": data_dir}).data_dir)


def _ssh(layout: Layout) -> str | None:
    """Return where SSH is spoken, if that is known by now."""
    from serve_app.ssh import places  # noqa: PLC0415 - of this command only

    place = places.read(layout.data_dir)
    return None if place is None else f"{place.host}:{place.port}"


def _health(server: ServerFile) -> dict[str, Any] | None:
    if not server.url:
        return None
    try:
        answer = httpx.get(f"{server.url}/api/admin/health", timeout=10)
        return dict(answer.json())
    except (httpx.HTTPError, ValueError):
        return None


def _print_status(report: dict[str, Any]) -> None:
    if not report["running"]:
        typer.echo(f"no server runs with {report['data_dir']}")
        return
    state = "ready" if report["ready"] else "starting"
    typer.echo(
        f"{state}: {report['url'] or '…'} (pid {report['pid']}, up {report['uptime_seconds']} s)"
    )
    if report["ssh"]:
        typer.echo(f"SSH: {report['ssh']}")
    health = report["health"]
    if health is None:
        typer.echo("its health page does not answer")
        return
    table = Table("component", "status", "latency", box=None)
    for name, part in health.get("components", {}).items():
        latency = part.get("latency_ms")
        table.add_row(name, str(part.get("status")), "" if latency is None else f"{latency:.1f} ms")
    Console().print(table)
