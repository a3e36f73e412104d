"""The emulator as a whole: begin and end, and what a test has in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from actors.core.ports.clock import Clock
from actors.core.tasks import Tasks
from cluster.clock import SystemClock
from cluster.dev.cloud_run import certificate
from cluster.dev.cloud_run.admin.api import methods
from cluster.dev.cloud_run.admin.instances import Instances
from cluster.dev.cloud_run.admin.operation_calls import OperationCalls
from cluster.dev.cloud_run.admin.operations import Operations
from cluster.dev.cloud_run.admin.resource import Catalog, Resource
from cluster.dev.cloud_run.admin.services import Services
from cluster.dev.cloud_run.admin.wire import Wire
from cluster.dev.cloud_run.admin.world import World
from cluster.dev.cloud_run.faults import Faults
from cluster.dev.cloud_run.identity.access import Access
from cluster.dev.cloud_run.identity.metadata import Metadata, MetadataServer
from cluster.dev.cloud_run.identity.tokens import TokenIssuer
from cluster.dev.cloud_run.programs.interface import Programs
from cluster.dev.cloud_run.quotas import Limits, Quotas
from cluster.dev.cloud_run.serving.plan import Timings

ADMINISTRATOR = ("roles/run.admin", "roles/iam.serviceAccountUser")
"""What the account that the metadata server speaks for may do in every project."""

_GRACE_SECONDS = 1.0
_LONGEST_MESSAGE = 16 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """How an emulator is set up.

    ``projects``: project → its regions. ``email`` is the account that the metadata server speaks for, made
    of the first project when empty. ``port`` is the Admin API's, ``metadata_port`` the metadata server's;
    0 picks a free one. ``tls`` makes the API speak TLS, by a certificate of its own (``Emulator.authority``);
    in the clear gRPC sends no tokens, and whoever calls is taken for ``email``.
    """

    projects: Mapping[str, Iterable[str]] = field(
        default_factory=lambda: {"coditect-dev": ("europe-west3",)}
    )
    email: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    metadata_port: int = 0
    tls: bool = True
    token_seconds: float = 3600.0
    timings: Timings = field(default_factory=Timings)
    limits: Limits = field(default_factory=Limits)


class Emulator:
    """A Cloud Run on this machine. Use it as an asynchronous context manager.

    ``faults``, ``quotas``, ``access``, ``issuer`` and ``secrets`` may be used at any time, in the loop
    that it runs in. ``endpoint`` is the Admin API's address, ``metadata_address`` that of the metadata
    server (``GCE_METADATA_HOST``), ``authority`` the certificate that the API shows (PEM), if it speaks TLS.
    """

    def __init__(
        self,
        programs: Programs,
        options: Options | None = None,
        *,
        clock: Clock | None = None,
        key: RSAPrivateKey | None = None,
    ) -> None:
        self.options = options = options or Options()
        clock = clock or SystemClock()
        project, regions = next(iter(options.projects.items()))
        self.email = options.email or f"coditect@{project}.iam.gserviceaccount.com"
        self.issuer = TokenIssuer(clock, lifetime_seconds=options.token_seconds, key=key)
        self.access = Access({self.email: dict.fromkeys(options.projects, ADMINISTRATOR)})
        self.quotas = Quotas(options.limits)
        self.faults = Faults()
        self.endpoint = ""
        self.authority = b""
        self._tasks = Tasks()
        self._catalog = Catalog()
        self._world = World(
            clock=clock,
            host=options.host,
            projects={name: frozenset(where) for name, where in options.projects.items()},
            programs=programs,
            timings=options.timings,
            issuer=self.issuer,
            access=self.access,
            quotas=self.quotas,
            faults=self.faults,
            operations=Operations(),
        )
        self.secrets = self._world.secrets
        region = next(iter(regions))
        metadata = Metadata(self.issuer, email=self.email, project=project, region=region)
        self._metadata = MetadataServer(metadata)
        self._server: Any = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    @property
    def metadata_address(self) -> str:
        """host:port of the metadata server."""
        return self._metadata.address

    async def start(self) -> None:
        """Begin to answer. Raises OSError when a port is taken."""
        options = self.options
        await self._metadata.start(options.host, options.metadata_port)
        sizes = [
            ("grpc.max_receive_message_length", _LONGEST_MESSAGE),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.aio.server(options=sizes)
        services = Services(self._world, self._catalog, self._tasks)
        instances = Instances(self._world, self._catalog, self._tasks)
        table = methods(services, instances, OperationCalls(self._world))
        wire = Wire(self._world, self._tasks, nobody="" if options.tls else self.email)
        for handler in wire.handlers(table):
            self._server.add_generic_rpc_handlers((handler,))
        address = f"{options.host}:{options.port}"
        try:
            port = self._bind(address)
        except RuntimeError as error:
            raise OSError(f"{address}: {error}") from error
        self.endpoint = f"{options.host}:{port}"
        await self._server.start()

    def _bind(self, address: str) -> int:
        if not self.options.tls:
            return int(self._server.add_insecure_port(address))
        made = certificate.make(self.options.host, self._world.clock.now())
        self.authority = made.chain
        credentials = grpc.ssl_server_credentials([(made.key, made.chain)])
        return int(self._server.add_secure_port(address, credentials))

    async def close(self) -> None:
        """Stop everything, with every container that runs. Idempotent."""
        self.faults.clear()
        if self._server is not None:
            await self._server.stop(_GRACE_SECONDS)
        await self._metadata.close()
        await self._tasks.close()
        await asyncio.gather(*(resource.close() for resource in self._catalog))

    def resource(self, name: str) -> Resource:
        """Return a service or an instance by its full name: what serves it, for tests. Raises ApiError."""
        return self._catalog.get(name)

    def resources(self) -> list[Resource]:
        """Return every service and instance that there is."""
        return list(self._catalog)
