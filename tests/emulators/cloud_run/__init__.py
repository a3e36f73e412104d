"""The Cloud Run emulator with what tests want round it: clients, programs, a service to create.

The emulator itself is ``cluster.dev.cloud_run``, which ``coditect dev cloud-run`` runs too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from google.api_core.operation_async import AsyncOperation
from google.cloud import run_v2

from cluster.dev.cloud_run.emulator import Emulator
from cluster.dev.cloud_run.programs.interface import Order, StartFailed

PROJECT, REGION = "coditect-dev", "europe-west3"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
ROOTS_VARIABLE = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"


class Page:
    """A program of this process: answers requests as ``answer`` says, for as long as it is not stopped.

    Its disk is ``files``, which a request may write to; they are gone with it.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.files: dict[str, bytes] = {}
        self.frozen = False
        self.stopped_with: list[float] = []
        self._ended = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task] = set()
        self.address = ""

    async def listen(self, accept) -> None:
        async def serve(reader, writer):
            task = asyncio.current_task()
            self._connections.add(task)
            try:
                await accept(self, reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                self._connections.discard(task)
                writer.close()

        self._server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def wait(self) -> str:
        await self._ended.wait()
        return "stopped"

    async def stop(self, grace_seconds: float) -> None:
        self.stopped_with.append(grace_seconds)
        self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        self._ended.set()

    async def freeze(self) -> None:
        self.frozen = True

    async def thaw(self) -> None:
        self.frozen = False


class Pages:
    """Programs of this process; ``accept(page, reader, writer)`` serves a connection."""

    def __init__(self, accept) -> None:
        self._accept = accept
        self.started: list[Page] = []
        self.refusal: str | None = None

    async def start(self, order: Order) -> Page:
        if self.refusal is not None:
            raise StartFailed(self.refusal)
        page = Page(order)
        await page.listen(self._accept)
        self.started.append(page)
        return page

    @property
    def running(self) -> list[Page]:
        return [page for page in self.started if not page.stopped_with]


async def hello(page: Page, reader, writer) -> None:
    """Answer a request with its own head."""
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(head) + head)
    await writer.drain()


def container(**changes) -> run_v2.Container:
    fields = {
        "image": "europe-docker.pkg.dev/coditect/images/workspace:1",
        "resources": {"limits": {"cpu": "2", "memory": "4Gi"}, "cpu_idle": True},
        "ports": [{"container_port": 8080}],
    }
    return run_v2.Container(**(fields | changes))


def service(template: dict | None = None, **changes) -> run_v2.Service:
    """Return a service as one would create."""
    fields = {
        "containers": [container()],
        "scaling": {"max_instance_count": 1},
        "execution_environment": run_v2.ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN2,
    }
    return run_v2.Service(
        template=run_v2.RevisionTemplate(**(fields | (template or {}))), **changes
    )


def channel(emulator: Emulator, email: str = "") -> grpc.aio.Channel:
    """Return a channel that trusts the emulator's certificate, with an account's access token."""
    token = emulator.issuer.access_token(email or emulator.email).token
    return grpc.aio.secure_channel(
        emulator.endpoint,
        grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(emulator.authority),
            grpc.access_token_call_credentials(token),
        ),
    )


def services(over: grpc.aio.Channel) -> run_v2.ServicesAsyncClient:
    """Return the library's client over a channel."""
    transport = run_v2.ServicesAsyncClient.get_transport_class("grpc_asyncio")(channel=over)
    return run_v2.ServicesAsyncClient(transport=transport)


def instances(over: grpc.aio.Channel) -> run_v2.InstancesAsyncClient:
    """Return the library's client over a channel."""
    transport = run_v2.InstancesAsyncClient.get_transport_class("grpc_asyncio")(channel=over)
    return run_v2.InstancesAsyncClient(transport=transport)


def instance(**changes) -> run_v2.Instance:
    """Return an instance as one would create."""
    return run_v2.Instance(**({"containers": [container()]} | changes))


async def finished(client, operation: AsyncOperation):
    """Return the result of an operation: without the library's pauses of a second between looks."""
    await client.wait_operation({"name": operation.operation.name})
    return await operation.result()


def identity(emulator: Emulator, audience: str, email: str = "") -> dict[str, str]:
    """Return the headers that let a request in."""
    token = emulator.issuer.identity_token(email or emulator.email, audience)
    return {"authorization": f"Bearer {token}"}


@asynccontextmanager
async def connected(
    emulator: Emulator, email: str = ""
) -> AsyncIterator[run_v2.ServicesAsyncClient]:
    """Hold a client of the emulator."""
    over = channel(emulator, email)
    try:
        yield services(over)
    finally:
        await over.close()


def environment(emulator: Emulator, authority_path: str) -> dict[str, str]:
    """Return what a process needs for google-auth to find the metadata server, and gRPC to trust the API.

    Both read it when they are imported, so it has to be a process of its own.
    """
    return {
        "GCE_METADATA_HOST": emulator.metadata_address,
        "GCE_METADATA_IP": emulator.metadata_address,
        ROOTS_VARIABLE: authority_path,
    }
