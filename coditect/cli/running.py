"""`coditect exec`: a program in the workspace, as a shell would run it."""

from __future__ import annotations

import io
import itertools
import secrets
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, BinaryIO

import typer

from coditect.cli.common import ServerOption, SessionOption, fail, pick, signed_in
from coditect.errors import (
    ApiError,
    DiskQuotaExceeded,
    Forbidden,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    TooLarge,
)
from coditect.models import ExecResult
from coditect.sync import Client
from coditect.upload import PIECE_BYTES

INLINE_INPUT = 128 << 10
"""Standard input that goes with the request; more of it goes through a file in the workspace."""

DEFAULT_SECONDS = 30.0
NOT_FOUND, NOT_EXECUTABLE, TIMED_OUT = 127, 126, 124  # POSIX.1-2017, XCU 2.8.2; timeout(1)
_INPUT_NAME = ".cache/coditect-input-{}"
# Opens the input and forgets its name at once: nothing stays behind, whatever the program does.
_WITH_INPUT = 'exec <"$1" && rm -f "$1" && cd "$2" && shift 2 && exec "$@"'


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
    )(execute)


def execute(
    argv: Annotated[list[str], typer.Argument(help="Command and its arguments.")],
    session: SessionOption = None,
    cwd: Annotated[str | None, typer.Option(help="Directory, relative to the workspace.")] = None,
    timeout: Annotated[
        float, typer.Option(help="Limit in seconds; none with -i or -t.")
    ] = DEFAULT_SECONDS,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Pass standard input on as it comes.")
    ] = False,
    tty: Annotated[bool, typer.Option("--tty", "-t", help="Give it a terminal.")] = False,
    no_stdin: Annotated[
        bool, typer.Option("--no-stdin", "-n", help="Leave standard input alone.")
    ] = False,
    server: ServerOption = None,
) -> None:
    """Run a command in your workspace; its exit code is this command's.

    `coditect exec -it SESSION -- bash` has this terminal for its own; with -i alone, pipes. Else standard
    input is passed on unless it is a terminal: to its end, before the command starts, so what does
    not end is refused at the limit of files (`coditect shell` is for that). 127: no
    such command; 126: it cannot be run; 128 + N: signal N ended it; 124: it took longer than the limit.
    """
    if interactive or tty:
        session, argv = _session_in_front(session, argv)
        raise typer.Exit(_interactively(server, session, argv, cwd, reads=interactive, tty=tty))
    source = None if no_stdin or sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer
    with signed_in(server) as client:
        chosen = pick(client, session)
        try:
            result = run(client, chosen.session_id, argv, source, cwd=cwd, timeout=timeout)
        except (NotFound, Forbidden, InvalidRequest) as error:
            fail(str(error), _code(error))
    _write(sys.stdout, result.stdout)
    _write(sys.stderr, result.stderr)
    if result.truncated:
        places = " and ".join(filter(None, (result.stdout_file, result.stderr_file)))
        where = f"; all of it is in {places}" if places else ""
        typer.echo(f"coditect: it printed more than is shown{where}", err=True)
    if result.timed_out:
        fail(f"killed after {timeout:g} s", TIMED_OUT)
    # A signal's number comes as a negative code; shells say 128 + number.
    raise typer.Exit(result.exit_code if result.exit_code >= 0 else 128 - result.exit_code)


def _session_in_front(session: str | None, argv: list[str]) -> tuple[str | None, list[str]]:
    """Take ``SESSION --`` off the front of a command, as `kubectl exec` and its like have it."""
    if session is None and len(argv) > 2 and argv[1] == "--":
        return argv[0], argv[2:]
    return session, argv


def _interactively(
    server: str | None,
    session: str | None,
    argv: list[str],
    cwd: str | None,
    *,
    reads: bool,
    tty: bool,
) -> int:
    with signed_in(server) as client:
        try:
            from coditect.cli.interactive import run_program  # noqa: PLC0415 - needs a POSIX terminal
        except ImportError:
            fail("-i and -t need a terminal of Linux, macOS or WSL")
        chosen = pick(client, session)
        try:
            code = run_program(client, chosen.session_id, argv, cwd=cwd, reads=reads, tty=tty)
        except (NotFound, Forbidden, InvalidRequest) as error:
            fail(str(error), _code(error))
    return code if code >= 0 else 128 - code


def run(
    client: Client,
    session_id: str,
    argv: Sequence[str],
    source: BinaryIO | None,
    *,
    cwd: str | None = None,
    timeout: float = 30.0,
) -> ExecResult:
    """Run a program that reads ``source`` to its end; holds ``INLINE_INPUT`` of it at most."""
    head = b"" if source is None else _read_up_to(source, INLINE_INPUT + 1)
    if source is None or len(head) <= INLINE_INPUT:
        text = head.decode("utf-8", "surrogateescape")
        return client.exec(session_id, argv, cwd=cwd, stdin=text, timeout_seconds=timeout)
    name = _INPUT_NAME.format(secrets.token_hex(8))
    rest = iter(partial(source.read, PIECE_BYTES), b"")
    try:
        client.write_file(session_id, name, itertools.chain([head], rest))
    except (TooLarge, QuotaExceeded, DiskQuotaExceeded) as error:
        fail(f"standard input waits in the workspace until it has ended, and is too much: {error}")
    try:
        wrapped = ["/bin/sh", "-c", _WITH_INPUT, "sh", name, cwd or ".", *argv]
        return client.exec(session_id, wrapped, timeout_seconds=timeout)
    except ApiError:
        client.delete_file(session_id, name)
        raise


def _code(error: ApiError) -> int:
    """Return the code with which a shell ends when it cannot run a command."""
    if isinstance(error, NotFound):
        return NOT_FOUND if error.detail.startswith("no program ") else 1
    about_program = error.problem.get("field") == "argv" or "argv: " in error.detail
    return NOT_EXECUTABLE if about_program else 1


def _read_up_to(source: BinaryIO, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := source.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write(stream: io.TextIOBase | object, text: str) -> None:
    """Write a program's output to the byte; what is no UTF-8 is a surrogate escape."""
    buffer = getattr(stream, "buffer", None)
    if buffer is not None:
        buffer.write(text.encode("utf-8", "surrogateescape"))
        buffer.flush()
    else:
        typer.echo(text, nl=False, err=stream is sys.stderr)
