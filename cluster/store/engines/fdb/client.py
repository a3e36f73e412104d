"""The native client of FoundationDB: how it is loaded and opened, and how its futures are awaited.

The client is loaded when a database is opened and not before, so that everything else, tests
included, runs where it is not installed. It keeps one network thread for the life of the process,
which must not fork afterwards, and whose options (TLS) are set once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from actors.core.errors.base import Unavailable
from cluster.store.engines.fdb import errors as fdb_errors

MIN_API_VERSION = 710
MAX_API_VERSION = 800


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """Files in PEM; ``verify_peers`` as in FoundationDB's documentation ("Peer verification").

    TLS is spoken with the addresses of the cluster file that end in ``:tls``. With a certificate
    given, plain connections are refused where the client can (7.2 and later).
    """

    certificate: Path | None = None
    key: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    verify_peers: str | None = None


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """A cluster, and the version of the interface. No ``cluster_file``: the client's default."""

    cluster_file: Path | None = None
    api_version: int = MIN_API_VERSION
    tls: TlsOptions = TlsOptions()


class Connection(NamedTuple):
    """The ``fdb`` module and an open database."""

    fdb: Any
    database: Any


_lock = threading.Lock()
_network: WeakKeyDictionary[Any, TlsOptions] = WeakKeyDictionary()


def load_native() -> Any:
    """Return the ``fdb`` module; it loads ``libfdb_c`` when an API version is selected."""
    import fdb  # noqa: PLC0415 - see the module

    return fdb


def connect(options: ClientOptions, load: Callable[[], Any] = load_native) -> Connection:
    """Load the client and open the cluster; blocks for as long as loading takes.

    Raises Unavailable: it says what is missing or does not fit. An unreachable cluster is not
    noticed here.
    """
    path = options.cluster_file
    if path is not None and not path.is_file():
        raise Unavailable("store", f"there is no FoundationDB cluster file {path}")
    fdb = load()
    with _lock:
        try:
            fdb.api_version(options.api_version)
        except Exception as error:
            # The module raises Exception, RuntimeError, OSError and AttributeError here.
            raise Unavailable("store", _cannot_load(fdb, options.api_version, error)) from error
        try:
            _set_network_options(fdb, options.tls)
            return Connection(fdb, fdb.open(None if path is None else str(path)))
        except fdb.FDBError as error:
            raise fdb_errors.of_open(error.code, describe(error)) from error


def describe(error: Any) -> str:
    """Return the text of an FDBError; the module gives bytes."""
    text = error.description
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


async def settled(future: Any) -> Any:
    """Wait for a native future without blocking the event loop; return what its ``wait`` does.

    The caller keeps the future's transaction referenced: without it the operation is cancelled
    (1025). Cancelling the waiting task cancels the operation, if it still can be. Raises FDBError.
    """
    if not future.is_ready():
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake(_: Any) -> None:
            # Called in the client's network thread. A closed loop has nobody left who waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_release, waiter)

        future.on_ready(wake)
        try:
            await waiter
        except asyncio.CancelledError:
            future.cancel()
            raise
    return future.wait()


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _set_network_options(fdb: Any, tls: TlsOptions) -> None:
    """Set what holds for the network thread; once a process, before the first database."""
    known = _network.get(fdb)
    if known == tls:
        return
    if known is not None:
        raise Unavailable(
            "store", "this process has opened FoundationDB with other TLS options already"
        )
    options = fdb.options
    # The password comes before the key that needs it.
    if tls.key_password is not None:
        options.set_tls_password(tls.key_password)
    if tls.certificate is not None:
        options.set_tls_cert_path(str(tls.certificate))
        if hasattr(options, "set_tls_disable_plaintext_connection"):
            options.set_tls_disable_plaintext_connection()
    if tls.key is not None:
        options.set_tls_key_path(str(tls.key))
    if tls.ca is not None:
        options.set_tls_ca_path(str(tls.ca))
    if tls.verify_peers is not None:
        options.set_tls_verify_peers(tls.verify_peers.encode())
    _network[fdb] = tls


def _cannot_load(fdb: Any, api_version: int, error: Exception) -> str:
    # Older packages do not say it themselves.
    python = getattr(fdb, "__version__", None) or metadata.version("foundationdb")
    return (
        f"FoundationDB's client cannot be used with API version {api_version}: {error} "
        f"(Python package foundationdb {python}; libfdb_c must be installed, in that version or a "
        "later one of the same series)"
    )
