"""One server, and one program in one workspace, for all tests of a file."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest_asyncio

from coditect import AsyncClient
from tests.fakes.ingress_fakes import EMAIL, PASSWORD, Rig, serving
from tests.fakes.ingress_fakes import rig as make_rig
from tests.support.port_program import program


@dataclass
class House:
    """A session of Ada's, in which a program listens on ``port``."""

    rig: Rig
    ada: AsyncClient
    session_id: str
    port: int
    _open: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def served_at(self) -> str:
        return urlsplit(self.rig.url).netloc.partition(":")[2]

    @property
    def way_in(self) -> str:
        """The platform's address that leads to the port."""
        return f"{self.rig.url}/workspaces/{self.session_id}/ports/{self.port}"

    def host(self, port: int | None = None, session_id: str | None = None) -> str:
        label = f"{port or self.port}--{session_id or self.session_id}"
        return f"{label}.localhost:{self.served_at}"

    def browser(self, **headers: str) -> httpx.AsyncClient:
        """Return a browser that resolves every name below localhost to the server."""
        mounts = {"all://": _Local()}
        made = httpx.AsyncClient(
            mounts=mounts, timeout=60, trust_env=False, headers={"accept": "text/html"} | headers
        )
        self._open.push_async_callback(made.aclose)
        return made

    async def signed_in(self, email: str | None = None) -> httpx.AsyncClient:
        """Return a browser of somebody who is signed in."""
        if email is not None:
            await (await self.rig.sign_in(email)).close()
        browser = self.browser()
        body = {"email": email or EMAIL, "password": PASSWORD}
        headers = {"origin": self.rig.url}
        answer = await browser.post(f"{self.rig.url}/api/v1/auth/login", json=body, headers=headers)
        assert answer.status_code == 200
        return browser

    def url(self, path: str = "/", **names: Any) -> str:
        return f"http://{self.host(**names)}{path}"

    async def entered(self, email: str | None = None, **names: Any) -> httpx.AsyncClient:
        """Return the browser of somebody who has come in, as people do: by the platform."""
        browser = await self.signed_in(email)
        port, session_id = names.get("port", self.port), names.get("session_id", self.session_id)
        begin = f"{self.rig.url}/workspaces/{session_id}/ports/{port}/seen"
        page = await browser.get(begin, follow_redirects=True)
        assert page.status_code == 200, page.text
        return browser

    async def share(self, port: int | None = None, **changes: Any) -> httpx.Response:
        http = self.rig.http(self.ada)
        path = f"/api/v1/sessions/{self.session_id}/ports/{port or self.port}"
        return await http.patch(path, json=changes)

    async def close(self) -> None:
        await self._open.aclose()


class _Local(httpx.AsyncHTTPTransport):
    """Connects to this machine, whatever the host, and says the host as it is."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if str(url.host).endswith("localhost"):
            url = url.copy_with(host="127.0.0.1")
        sent = httpx.Request(
            request.method,
            url,
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        return await super().handle_async_request(sent)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory) -> AsyncIterator[House]:
    directory = tmp_path_factory.mktemp("rig")
    stage = tmp_path_factory.mktemp("stage")
    async with (
        make_rig(directory, stage, ports_answer_timeout=2.0) as rig,
        await rig.sign_in() as ada,
        serving(program) as url,
    ):
        [session] = await ada.sessions()
        await ada.exec(session.session_id, ["true"])
        made = House(rig, ada, session.session_id, int(url.rpartition(":")[2]))
        yield made
        await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def private(house: House) -> AsyncIterator[House]:
    """The same, with nothing shared."""
    await house.share(visibility="private", wake=False, label="")
    yield house
