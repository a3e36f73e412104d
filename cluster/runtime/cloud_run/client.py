"""Calls of the Cloud Run Admin API, over google-cloud-run's async clients. No decision is made here.

Both shapes of a container have the same calls. Every call has a time limit of its own and is not repeated:
who asks knows what a repetition would do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import google.auth
import grpc
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth import exceptions as auth_exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2
from google.longrunning.operations_pb2 import GetOperationRequest

from actors.core.errors.base import Unavailable
from cluster.cloud_run_options import Place, Shape
from cluster.runtime.cloud_run.errors import CallFailed
from cluster.runtime.cloud_run.operations import Outcome, Seen, outcome, phase
from cluster.runtime.cloud_run.service_spec import Document

CALL_SECONDS = 15.0
PAGE_SIZE = 500
MAX_PAGES = 50
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_CLEAR = "http://"


class CloudRunApi:
    """One kind of resource in all places. Belongs to the event loop in which it is first used.

    ``endpoint`` is another API than Google's: ``http://host:port`` for one in the clear, without
    credentials.
    """

    def __init__(self, shape: Shape, endpoint: str | None = None) -> None:
        self._shape = shape
        self._endpoint = endpoint
        self._opened: Any = None

    async def create(self, place: Place, name: str, document: Document) -> str:
        """Begin to make a resource; return the operation's name. Raises CallFailed."""
        client = await self._client()
        async with _calling():
            if self._shape is Shape.SERVICES:
                operation = await client.create_service(
                    parent=place.parent,
                    service=run_v2.Service(document),
                    service_id=name,
                    timeout=CALL_SECONDS,
                )
            else:
                request = run_v2.CreateInstanceRequest(  # the call itself takes no id
                    parent=place.parent, instance=run_v2.Instance(document), instance_id=name
                )
                operation = await client.create_instance(request, timeout=CALL_SECONDS)
        return str(operation.operation.name)

    async def failure(self, operation: str) -> str | None:
        """Return the reason for which an operation has failed; None while it has not. Raises CallFailed."""
        client = await self._client()
        async with _calling():
            found = await client.get_operation(
                GetOperationRequest(name=operation), timeout=CALL_SECONDS
            )
        return found.error.message or "it failed" if found.HasField("error") else None

    async def get(self, resource: str) -> Seen | None:
        """Return how a resource is; None when there is none. Raises CallFailed."""
        client = await self._client()
        try:
            async with _calling():
                if self._shape is Shape.SERVICES:
                    found = await client.get_service(
                        name=resource, timeout=CALL_SECONDS, retry=None
                    )
                else:
                    found = await client.get_instance(
                        name=resource, timeout=CALL_SECONDS, retry=None
                    )
        except CallFailed as failed:
            if failed.outcome is Outcome.MISSING:
                return None
            raise
        return _seen(found)

    async def delete(self, resource: str) -> None:
        """Begin to remove a resource; of one that is gone there is nothing to do. Raises CallFailed."""
        client = await self._client()
        try:
            async with _calling():
                if self._shape is Shape.SERVICES:
                    await client.delete_service(name=resource, timeout=CALL_SECONDS)
                else:
                    await client.delete_instance(name=resource, timeout=CALL_SECONDS)
        except CallFailed as failed:
            if failed.outcome is not Outcome.MISSING:
                raise

    async def list(self, place: Place) -> Sequence[Seen]:
        """Return every resource of a place, whoever made it. Raises CallFailed."""
        client = await self._client()
        found: list[Seen] = []
        async with _calling():
            if self._shape is Shape.SERVICES:
                listing = run_v2.ListServicesRequest(parent=place.parent, page_size=PAGE_SIZE)
                pager = await client.list_services(listing, timeout=CALL_SECONDS, retry=None)
            else:
                listing = run_v2.ListInstancesRequest(parent=place.parent, page_size=PAGE_SIZE)
                pager = await client.list_instances(listing, timeout=CALL_SECONDS, retry=None)
            async for each in pager:
                found.append(_seen(each))
                if len(found) >= PAGE_SIZE * MAX_PAGES:
                    break
        return found

    async def close(self) -> None:
        """Close the connection."""
        if self._opened is not None:
            await self._opened[1].transport.close()
            self._opened = None

    async def _client(self) -> Any:
        """Return the library's client of this event loop. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        if self._opened is None or self._opened[0] is not loop:
            # They are looked for by questions that block; others may be here meanwhile.
            credentials = await asyncio.to_thread(self._credentials)
            if self._opened is None or self._opened[0] is not loop:
                self._opened = loop, self._open(credentials)
        return self._opened[1]

    def _credentials(self) -> Any:
        if self._endpoint is not None and self._endpoint.startswith(_CLEAR):
            return AnonymousCredentials()
        try:
            return google.auth.default(scopes=_SCOPES)[0]
        except auth_exceptions.GoogleAuthError as error:
            raise Unavailable("Cloud Run", str(error)) from error

    def _open(self, credentials: Any) -> Any:
        kind: Any = (
            run_v2.ServicesAsyncClient
            if self._shape is Shape.SERVICES
            else run_v2.InstancesAsyncClient
        )
        if self._endpoint is None:
            return kind(credentials=credentials)
        if self._endpoint.startswith(_CLEAR):
            channel = grpc.aio.insecure_channel(self._endpoint.removeprefix(_CLEAR))
            transport = kind.get_transport_class("grpc_asyncio")
            return kind(transport=transport(channel=channel, credentials=credentials))
        options = ClientOptions(api_endpoint=self._endpoint)
        return kind(credentials=credentials, client_options=options)


class _calling:  # noqa: N801 - reads as the context that it is
    """Raises the library's errors as CallFailed."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, exceptions.GoogleAPICallError):
            code = error.grpc_status_code.name if error.grpc_status_code else "UNKNOWN"
            raise CallFailed(outcome(code), code, error.message) from error
        if isinstance(error, exceptions.RetryError):
            raise CallFailed(Outcome.UNKNOWN, "DEADLINE_EXCEEDED", str(error)) from error
        if isinstance(error, auth_exceptions.GoogleAuthError):
            raise Unavailable("Cloud Run", str(error)) from error


def _seen(found: Any) -> Seen:
    condition = found.terminal_condition
    uri = found.uri if isinstance(found, run_v2.Service) else next(iter(found.urls), "")
    return Seen(
        resource=found.name,
        phase=phase(
            run_v2.Condition.State(condition.state).name,
            uri,
            deleting=bool(found.delete_time),
            reconciling=found.reconciling,
        ),
        uri=uri,
        reason=condition.message,
        labels=dict(found.labels),
        annotations=dict(found.annotations),
    )
