"""The store served to other nodes: whom the head lets in, whom a node believes, and what then ends."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.store import CommitUnknown
from cluster.membership import credentials
from cluster.store.engines.interface import Commit, Mutation, MutationKind
from cluster.store.remote import doorway
from cluster.store.remote import server as store_server
from cluster.store.remote.client import RemoteEngine
from cluster.store.remote.head_engine import HeadEngine
from cluster.store.remote.server import REFUSED, Network, StoreServer
from tests.fakes.engines import opened_engine

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def head_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("head"))


@pytest.fixture(scope="module")
def other_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("other"))


def made(directory: Path) -> Path:
    credentials.make(directory, datetime.now(UTC))
    return directory


async def welcome(greeting):
    if greeting["version"] == "none":
        raise Unavailable("head", "the store is away")
    return {} if greeting["version"] == "1" else {REFUSED: "this is version 1"}


@asynccontextmanager
async def serving(head_dir: Path, tmp_path: Path) -> AsyncIterator[StoreServer]:
    network = Network(("127.0.0.1", 0), partial(credentials.head_context, head_dir), welcome)
    async with opened_engine("lmdb", tmp_path) as engine:
        server = StoreServer(engine, tmp_path / "run" / "store.sock", network)
        await server.open()
        try:
            yield server
        finally:
            await server.close()


def engine_of(server: StoreServer, data_dir: Path, *, version: str = "1") -> HeadEngine:
    return HeadEngine(
        server.address,
        partial(credentials.node_context, data_dir),
        name=credentials.HEAD_NAME,
        greeting={"version": version},
    )


def setting(key: bytes, value: bytes) -> Commit:
    return Commit(0, (), (Mutation(MutationKind.SET, key, value),), b"id" + value)


async def test_a_node_reads_and_writes_what_the_head_has(head_dir, tmp_path):
    async with serving(head_dir, tmp_path) as server:
        one, two = engine_of(server, head_dir), engine_of(server, head_dir)
        await one.open()
        changed = asyncio.create_task(one.watch(b"a", None, 20))
        await two.commit(setting(b"a", b"1"))
        await changed
        assert (await one.get_many([b"a"], None)).values == [b"1"]
        await asyncio.gather(one.close(), two.close())


async def test_the_head_has_its_store_while_its_port_is_somebody_elses(
    head_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(store_server, "DOORWAY_SECONDS", 0.01)
    path = tmp_path / "run" / "store.sock"
    async with opened_engine("lmdb", tmp_path) as engine:
        with socket.create_server(("127.0.0.1", 0)) as other:
            place = other.getsockname()
            network = Network(place, partial(credentials.head_context, head_dir), welcome)
            server = StoreServer(engine, path, network)
            await server.open()
            own = RemoteEngine(path)
            assert (await own.get_many([b"a"], None)).values == [None]
        opening = server._opening
        assert opening is not None
        await opening
        node = engine_of(server, head_dir)
        await node.open()
        await node.close()
        own.close()
        await server.close()


async def test_a_node_of_another_server_is_let_in_nowhere(head_dir, other_dir, tmp_path):
    async with serving(head_dir, tmp_path) as server:
        engine = engine_of(server, other_dir)
        with pytest.raises(Unavailable, match="not the head whose token this is"):
            await engine.open()


async def test_a_stranger_without_a_certificate_is_sent_away(head_dir, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with serving(head_dir, tmp_path) as server:
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            reader, writer = await asyncio.open_connection(*server.address, ssl=context)
            writer.write(b"\x00" * 8)
            await reader.readexactly(1)


async def test_a_node_does_not_take_another_node_for_the_head(head_dir, tmp_path):
    """A node's key is on every node: whoever has one must not be able to serve a store."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(credentials.node_file(head_dir))
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        engine = HeadEngine(
            server.sockets[0].getsockname(),
            partial(credentials.node_context, head_dir),
            name="node",
            greeting={},
        )
        with pytest.raises(Unavailable, match="not the head"):
            await engine.open()


async def test_an_answer_that_the_head_cannot_give_is_no_lost_connection(head_dir, tmp_path):
    async with serving(head_dir, tmp_path) as server:
        engine = engine_of(server, head_dir, version="none")
        with pytest.raises(Unavailable, match="the store is away"):
            await engine.open()


async def test_a_node_of_another_version_is_told_so_and_served_nothing(head_dir, tmp_path):
    async with serving(head_dir, tmp_path) as server:
        engine = engine_of(server, head_dir, version="2")
        with pytest.raises(Unavailable, match="this is version 1"):
            await engine.get_many([b"a"], None)
        with pytest.raises(CommitUnknown):
            await engine.commit(setting(b"a", b"1"))


@pytest.mark.parametrize("limit", ["MAX_HANDSHAKES", "MAX_HANDSHAKES_OF_ONE"])
async def test_those_who_say_nothing_keep_nobody_out(head_dir, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(doorway, "HANDSHAKE_SECONDS", 600.0)
    monkeypatch.setattr(doorway, "MAX_HANDSHAKES", 8)
    monkeypatch.setattr(doorway, "MAX_HANDSHAKES_OF_ONE", 100)
    monkeypatch.setattr(doorway, limit, 8)
    async with serving(head_dir, tmp_path) as server:
        silent = [socket.create_connection(server.address) for _ in range(80)]
        engine = engine_of(server, head_dir)
        await engine.open()
        assert len(server._doorway._handshakes) <= 8
        await engine.close()
        for each in silent:
            each.close()


async def test_a_node_comes_back_when_the_head_does(head_dir, tmp_path):
    async with serving(head_dir, tmp_path) as server:
        engine = engine_of(server, head_dir)
        await engine.commit(setting(b"a", b"1"))
        await server.close()
        with pytest.raises(Unavailable):
            await engine.get_many([b"a"], None)


def test_certificates_are_made_once_for_this_user_alone(tmp_path):
    credentials.make(tmp_path, NOW)
    files = [credentials.head_file(tmp_path), credentials.node_file(tmp_path)]
    before = [file.read_text() for file in files]
    credentials.make(tmp_path, NOW + timedelta(days=1))
    assert [file.read_text() for file in files] == before
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    assert len(list(credentials.directory(tmp_path).iterdir())) == len(files)
