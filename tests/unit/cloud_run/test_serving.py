"""What serves a service's requests: its front door, and instances that come and go."""

from __future__ import annotations

import asyncio
import contextlib

import httpx

from cluster.clock import SystemClock
from cluster.dev.cloud_run.emulator import Emulator, Options
from cluster.dev.cloud_run.serving.plan import Timings
from tests.emulators.cloud_run import PARENT, Pages, connected, container, finished, hello, identity
from tests.emulators.cloud_run import service as definition
from tests.support.waiting import wait_until
from tests.unit.cloud_run.conftest import KEY

HEAD_ENDS = b"\r\n\r\n"
OPEN_RESOURCES = {"limits": {"cpu": "1", "memory": "512Mi"}, "cpu_idle": False}


class Deployed:
    """A service that runs, and what a test wants of it."""

    def __init__(self, emulator, service, pages):
        self.uri = service.uri
        self.headers = identity(emulator, service.uri)
        self.workload = emulator.resource(service.name).workload
        self.front = emulator.resource(service.name).front
        self.pages = pages

    async def until(self, condition):
        async with self.workload.changed:
            await self.workload.changed.wait_for(condition)

    async def raw(self, head: str):
        """Open a connection and send a request on it."""
        host, port = self.uri.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        token = self.headers["authorization"]
        writer.write(f"{head}\r\nhost: x\r\nauthorization: {token}\r\n\r\n".encode())
        await writer.drain()
        return reader, writer


async def eventually(condition):
    async def probe():
        return condition()

    await wait_until(probe, pause_seconds=0.005)


class Bell(SystemClock):
    """Time in which requests are cut when it rings."""

    SECONDS = 77.0

    def __init__(self):
        self._rung = asyncio.Event()

    def ring(self):
        self._rung.set()

    async def sleep(self, seconds):
        if seconds == self.SECONDS:
            await self._rung.wait()
        else:
            await super().sleep(seconds)


@contextlib.asynccontextmanager
async def deployed(accept, template=None, clock=None, **timings):
    pages = Pages(accept)
    options = Options(timings=Timings(**timings))
    async with (
        Emulator(pages, options, clock=clock, key=KEY) as emulator,
        connected(emulator) as client,
    ):
        operation = await client.create_service(
            parent=PARENT, service=definition(template), service_id="user-1"
        )
        yield Deployed(emulator, await finished(client, operation), pages)


async def never(page, reader, writer):
    """Read a request and say nothing."""
    await reader.readuntil(HEAD_ENDS)
    await asyncio.Event().wait()


async def begin(page, reader, writer):
    """Begin an answer and never end it."""
    await reader.readuntil(HEAD_ENDS)
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n")
    await asyncio.Event().wait()


async def echo(page, reader, writer):
    """Switch protocols, and say everything again."""
    await reader.readuntil(HEAD_ENDS)
    writer.write(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
    while data := await reader.read(1024):
        writer.write(data)


async def test_an_idle_service_scales_to_zero_loses_its_disk_and_starts_on_a_request():
    async with deployed(hello, idle=0.02) as served, httpx.AsyncClient() as http:
        served.pages.started[0].files["kept"] = b"no"
        await served.until(lambda: served.workload.instances == 0)
        await eventually(lambda: served.pages.started[0].stopped_with == [10.0])
        answer = await http.get(served.uri, headers=served.headers)
        assert answer.status_code == 200
        assert len(served.pages.started) == 2
        assert served.pages.started[1].files == {}


async def test_a_minimum_of_instances_stays_and_is_restored():
    template = {"scaling": {"min_instance_count": 1, "max_instance_count": 1}}
    async with deployed(hello, template, idle=0.01) as served:
        await asyncio.sleep(0.05)  # several times as long as an idle one is kept
        assert len(served.pages.running) == 1
        await served.workload.crash()
        await served.until(lambda: len(served.pages.running) == 1)
        assert len(served.pages.started) == 2


async def test_an_instance_has_processors_only_while_it_has_requests():
    seen = []

    async def look(page, reader, writer):
        seen.append(page.frozen)
        await hello(page, reader, writer)

    async with deployed(look) as served, httpx.AsyncClient() as http:
        page = served.pages.started[0]
        await eventually(lambda: page.frozen)
        seen.clear()  # of the startup probe
        await http.get(served.uri, headers=served.headers)
        assert seen == [False]
        await eventually(lambda: page.frozen)
    assert not page.frozen  # it has to be able to end


async def test_an_instance_that_is_to_keep_its_processors_keeps_them():
    template = {"containers": [container(resources=OPEN_RESOURCES)]}
    async with deployed(hello, template) as served, httpx.AsyncClient() as http:
        await http.get(served.uri, headers=served.headers)
        await served.until(lambda: not served.workload.requests)
        assert not served.pages.started[0].frozen


async def test_a_request_without_an_answer_ends_with_504_at_the_timeout():
    async with deployed(never, longest_request=0.05) as served, httpx.AsyncClient() as http:
        assert (await http.get(served.uri, headers=served.headers)).status_code == 504
        assert served.front.cuts == 1
        await served.until(lambda: not served.workload.requests)
        assert len(served.pages.running) == 1


async def test_an_answer_that_has_begun_breaks_off_at_the_timeout():
    bell = Bell()
    async with deployed(begin, clock=bell, longest_request=bell.SECONDS) as served:
        reader, writer = await served.raw("GET / HTTP/1.1")
        assert (await reader.readuntil(b"begun\r\n")).startswith(b"HTTP/1.1 200")
        bell.ring()
        assert await reader.read() == b""
        writer.close()


async def test_bytes_go_both_ways_after_an_upgrade_until_the_timeout():
    bell = Bell()
    async with deployed(echo, clock=bell, longest_request=bell.SECONDS) as served:
        head = "GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: echo"
        reader, writer = await served.raw(head)
        assert (await reader.readuntil(HEAD_ENDS)).startswith(b"HTTP/1.1 101")
        writer.write(b"said")
        assert await reader.readexactly(4) == b"said"
        bell.ring()
        assert await reader.read() == b""
        assert served.front.cuts == 1
        writer.close()


async def test_requests_beyond_the_concurrency_wait_and_get_429_when_that_is_too_long():
    template = {"max_instance_request_concurrency": 1}
    async with deployed(never, template, queue=0.05) as served, httpx.AsyncClient() as http:
        first = await served.raw("GET / HTTP/1.1")
        await served.until(lambda: served.workload.requests == 1)
        assert (await http.get(served.uri, headers=served.headers)).status_code == 429
        assert len(served.pages.started) == 1
        first[1].close()


async def test_a_request_that_waits_gets_the_place_of_one_that_its_caller_has_left():
    answers = iter((never, hello))

    async def accept(page, reader, writer):
        head = await reader.readuntil(HEAD_ENDS)
        again = asyncio.StreamReader()
        again.feed_data(head)
        await next(answers)(page, again, writer)

    template = {
        "max_instance_request_concurrency": 1,
        "containers": [container(resources=OPEN_RESOURCES)],
    }
    async with deployed(accept, template) as served, httpx.AsyncClient() as http:
        first = await served.raw("GET / HTTP/1.1")
        await served.until(lambda: served.workload.requests == 1)
        waiting = asyncio.create_task(http.get(served.uri, headers=served.headers))
        first[1].close()
        assert (await waiting).status_code == 200


async def test_a_request_for_which_no_instance_starts_gets_503_and_the_next_one_an_answer():
    async with deployed(hello, idle=0.02) as served, httpx.AsyncClient() as http:
        await served.until(lambda: served.workload.instances == 0)
        served.pages.refusal = "no such image"
        assert (await http.get(served.uri, headers=served.headers)).status_code == 503
        served.pages.refusal = None
        assert (await http.get(served.uri, headers=served.headers)).status_code == 200


async def test_a_request_of_more_than_32_mib_is_refused():
    async with deployed(hello) as served:
        reader, writer = await served.raw(f"PUT / HTTP/1.1\r\ncontent-length: {(32 << 20) + 1}")
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()


async def test_a_connection_carries_one_request_after_another():
    async with deployed(hello) as served:
        reader, writer = await served.raw("GET /1 HTTP/1.1")
        first = await reader.readuntil(HEAD_ENDS)
        assert first.startswith(b"HTTP/1.1 200")
        size = int(first.lower().partition(b"content-length: ")[2].split()[0])
        assert (await reader.readexactly(size)).startswith(b"GET /1 ")
        token = served.headers["authorization"]
        writer.write(f"GET /2 HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\n\r\n".encode())
        await reader.readuntil(HEAD_ENDS)
        assert (await reader.readexactly(size)).startswith(b"GET /2 ")
        writer.close()
