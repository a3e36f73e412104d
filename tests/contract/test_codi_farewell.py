"""Frames of a client that come together with its closing frame are handled."""

import asyncio
import json

import pytest
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from cluster.codi.bundle import Limits
from cluster.codi.client import HttpCodiClient
from tests.support.codi_process import run_codi
from tests.support.journal_keeper import keeping
from tests.support.waiting import wait_until


@pytest.fixture
def codi(tmp_path, tmp_path_factory):
    with run_codi(tmp_path, tmp_path_factory.mktemp("stage"), Limits()) as running:
        yield running


async def test_leaving_the_screen_input_and_a_close_in_one_packet_are_all_taken(codi):
    async with keeping(codi.handle()), HttpCodiClient() as client:
        protocol = ClientProtocol(
            parse_uri(f"ws://{codi.address}/terminals/t/ws?client=c&create=1&cols=80&rows=24")
        )
        request = protocol.connect()
        request.headers.update(codi.headers)
        protocol.send_request(request)
        reader, writer = await asyncio.open_connection("127.0.0.1", codi.port)
        writer.writelines(protocol.data_to_send())
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        query = {"client": "other", "cols": "90", "rows": "30"}
        other = await client.connect_terminal(codi.route(), "t", query)
        await other.recv()
        protocol.send_text(json.dumps({"type": "hidden"}).encode())  # its size is the other's now
        protocol.send_binary(b"touch said\r")
        protocol.send_close(1001, "the page goes")
        writer.write(b"".join(protocol.data_to_send()))

        async def said():
            return (codi.workspace / "said").exists()

        await wait_until(said)
        while await reader.read(1 << 16):
            continue
        writer.close()
        await other.close()
    assert "error" not in codi.log.read_text().lower()
