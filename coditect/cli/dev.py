"""`coditect dev`: what developers run beside the server, in the place of services in the cloud."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actors.core.errors.requests import InvalidArgument
from cluster.clock import SystemClock
from coditect.cli.common import fail

if TYPE_CHECKING:
    from cluster.dev.cloud_run.emulator import Options

app = typer.Typer(help="Services of the cloud, emulated on this machine.", no_args_is_help=True)

_DEFAULT_PLACE = "coditect-dev/europe-west3"


@app.callback()
def dev() -> None:
    """Services of the cloud, emulated on this machine."""


@app.command("cloud-run")
def cloud_run(
    port: Annotated[int, typer.Option(help="Port of the Admin API; 0 picks one.")] = 8095,
    metadata_port: Annotated[
        int, typer.Option(help="Port of the metadata server; 0 picks one.")
    ] = 8096,
    data_dir: Annotated[
        Path, typer.Option(help="Where containers' files are, while they run.")
    ] = Path("cloud-run-data"),
    place: Annotated[
        list[str] | None, typer.Option(help="PROJECT/REGION that there is; may be repeated.")
    ] = None,
    idle: Annotated[
        float, typer.Option(min=0, help="Seconds until an instance without requests stops.")
    ] = 900.0,
    timeout: Annotated[
        float, typer.Option(min=1, max=3600, help="Seconds after which every request is cut.")
    ] = 3600.0,
    tls: Annotated[
        bool, typer.Option("--tls", help="Speak TLS, and ask every caller for an access token.")
    ] = False,
) -> None:
    """Emulate Cloud Run, with real containers, until Ctrl-C or SIGTERM."""
    from cluster.dev.cloud_run.emulator import Options  # noqa: PLC0415 - gRPC takes a second
    from cluster.dev.cloud_run.serving.plan import Timings  # noqa: PLC0415

    try:
        options = Options(
            projects=_projects(place or [_DEFAULT_PLACE]),
            port=port,
            metadata_port=metadata_port,
            tls=tls,
            timings=Timings(idle=idle, longest_request=timeout),
        )
        asyncio.run(_serve(options, data_dir))
    except InvalidArgument as error:
        fail(str(error))


def _projects(places: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for place in places:
        project, _, region = place.partition("/")
        if not project or not region or "/" in region:
            raise InvalidArgument("--place", "PROJECT/REGION")
        found.setdefault(project, []).append(region)
    return found


async def _serve(options: Options, data_dir: Path) -> None:
    from cluster.dev.cloud_run.emulator import Emulator  # noqa: PLC0415
    from cluster.dev.cloud_run.programs.sandboxes import Sandboxes  # noqa: PLC0415

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    programs = Sandboxes(data_dir, SystemClock())
    await programs.close()  # what one that was killed has left
    async with Emulator(programs, options) as emulator:
        scheme = "" if options.tls else "http://"
        lines = [
            f"GCE_METADATA_HOST={emulator.metadata_address}",
            f"GCE_METADATA_IP={emulator.metadata_address}",
            f"CODITECT_CLOUD_RUN_ENDPOINT={scheme}{emulator.endpoint}",
        ]
        if options.tls:
            path = data_dir / "authority.pem"
            path.write_bytes(emulator.authority)
            lines.append(f"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH={path.resolve()}")
        typer.echo("Cloud Run is emulated, for whoever has this in the environment:")
        for line in lines:
            typer.echo(f"  export {line}")
        await ended.wait()
