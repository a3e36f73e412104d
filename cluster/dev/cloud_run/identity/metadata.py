"""The metadata server of a machine in the cloud, as far as tokens go.

``GCE_METADATA_HOST`` leads google-auth here. It answers only those who send ``Metadata-Flavor: Google``
and nobody's proxy, and says so itself with the same header.
"""

from __future__ import annotations

import asyncio
import json
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import h11

from actors.core.tasks import Tasks
from cluster.dev.cloud_run.identity.tokens import TokenIssuer

FLAVOR = ("Metadata-Flavor", "Google")
_PREFIX = "/computeMetadata/v1/"
_READ_BYTES = 64 << 10
_IDLE_SECONDS = 60.0
_SCOPES = "https://www.googleapis.com/auth/cloud-platform"


class Answer(NamedTuple):
    """What the metadata server says."""

    status: int
    content: str
    kind: str = "application/text"


class Metadata:
    """Answers for one account of one project. No I/O."""

    def __init__(self, issuer: TokenIssuer, *, email: str, project: str, region: str) -> None:
        self._issuer = issuer
        self._email = email
        self._project = project
        self._region = region

    def answer(self, method: str, target: str, headers: dict[str, str]) -> Answer:
        """Answer a request; ``headers`` by their lower-case names."""
        if method != "GET":
            return Answer(405, "Method Not Allowed")
        url = urlsplit(target)
        if url.path == "/":  # google-auth asks so whether this is such a server at all
            return Answer(200, "computeMetadata/\n")
        if headers.get("metadata-flavor") != "Google" or "x-forwarded-for" in headers:
            return Answer(403, "Missing Metadata-Flavor:Google header.\n")
        if not url.path.startswith(_PREFIX):
            return Answer(404, "Not Found\n")
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        return self._entry(url.path.removeprefix(_PREFIX), query)

    def _entry(self, path: str, query: dict[str, str]) -> Answer:
        match path.strip("/").split("/"):
            case ["project", "project-id"]:
                return Answer(200, self._project)
            case ["instance", "region"]:
                return Answer(200, f"projects/{self._project}/regions/{self._region}")
            case ["universe", "universe-domain" | "universe_domain"]:
                return Answer(200, "googleapis.com")
            case ["instance", "service-accounts"]:
                return Answer(200, f"default/\n{self._email}/\n")
            case ["instance", "service-accounts", account, *rest]:
                if account in {"default", self._email}:
                    return self._account(rest, query)
        return Answer(404, "Not Found\n")

    def _account(self, rest: list[str], query: dict[str, str]) -> Answer:
        about = {"aliases": ["default"], "email": self._email, "scopes": [_SCOPES]}
        match rest:
            case [] if query.get("recursive") == "true":
                answer = Answer(200, json.dumps(about), "application/json")
            case []:
                answer = Answer(200, "aliases\nemail\nidentity\nscopes\ntoken\n")
            case ["email"]:
                answer = Answer(200, self._email)
            case ["scopes"]:
                answer = Answer(200, f"{_SCOPES}\n")
            case ["token"]:
                answer = self._access_token()
            case ["identity"]:
                answer = self._identity(query)
            case _:
                answer = Answer(404, "Not Found\n")
        return answer

    def _access_token(self) -> Answer:
        token = self._issuer.access_token(self._email)
        content = {
            "access_token": token.token,
            "expires_in": int(token.expires_at - self._issuer.now()),
            "token_type": "Bearer",
        }
        return Answer(200, json.dumps(content), "application/json")

    def _identity(self, query: dict[str, str]) -> Answer:
        if not query.get("audience"):
            return Answer(400, "non-empty audience parameter required\n")
        more = None
        if query.get("format", "standard") == "full":
            more = {"google": {"compute_engine": {"project_id": self._project}}}
        return Answer(200, self._issuer.identity_token(self._email, query["audience"], more=more))


class MetadataServer:
    """Serves metadata over HTTP on an address of this machine, which ``address`` has once it is started."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._tasks = Tasks(limit=256)
        self._server: asyncio.Server | None = None
        self.address = ""

    async def start(self, host: str, port: int = 0) -> None:
        """Begin to listen. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, port)
        bound = self._server.sockets[0].getsockname()
        self.address = f"{bound[0]}:{bound[1]}"

    async def close(self) -> None:
        """Stop, with every connection."""
        if self._server is not None:
            self._server.close()
        await self._tasks.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._tasks.offer("metadata", self._serve(reader, writer)) is None:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = h11.Connection(h11.SERVER)
        try:
            async with asyncio.timeout(_IDLE_SECONDS) as limit:
                while await self._exchange(peer, reader, writer):
                    limit.reschedule(asyncio.get_running_loop().time() + _IDLE_SECONDS)
        except (OSError, TimeoutError, h11.ProtocolError):
            pass
        finally:
            writer.close()

    async def _exchange(
        self, peer: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        request: h11.Request | None = None
        while True:
            event = peer.next_event()
            if event is h11.NEED_DATA:
                peer.receive_data(await reader.read(_READ_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage):
                break
            elif not isinstance(event, h11.Data):
                return False
        assert request is not None
        headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        answer = self._metadata.answer(
            request.method.decode(), request.target.decode("latin-1"), headers
        )
        content = answer.content.encode()
        sent = [FLAVOR, ("Content-Type", answer.kind), ("Content-Length", str(len(content)))]
        writer.write(
            peer.send(
                h11.Response(
                    status_code=answer.status, headers=[*sent, ("Server", "Metadata Server for VM")]
                )
            )
            or b""
        )
        writer.write(peer.send(h11.Data(data=content)) or b"")
        writer.write(peer.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        if peer.our_state is not h11.DONE:
            return False
        peer.start_next_cycle()
        return True
