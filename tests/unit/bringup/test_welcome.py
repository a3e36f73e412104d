"""What a node is told that greets a head, and what is asked of a node's settings."""

from __future__ import annotations

from functools import partial

import pytest

from actors.core.errors.requests import InvalidArgument
from actors.core.records.nodes import NodeRecord
from cluster.layout import Layout
from cluster.membership import credentials, version
from cluster.paths import store_socket
from cluster.settings import load
from cluster.store.layers.nodes import NodeStore
from cluster.store.remote.server import REFUSED, StoreServer
from cluster.wiring.welcome import NODES_OWN, _is_alive, welcome
from tests.fakes.engines import opened_engine


def settings(**options):
    return load(options, environment={})


async def test_a_node_of_another_version_is_told_both(tmp_path):
    head = settings(data_dir=tmp_path, chunk_store="s3://bucket")
    answer = await welcome(head, {"version": "coditect-server 0.0.1", "joins": True})
    assert version.own() in answer[REFUSED]
    assert "0.0.1" in answer[REFUSED]


async def test_nobody_joins_a_head_whose_contents_no_other_node_reaches(tmp_path):
    answer = await welcome(settings(data_dir=tmp_path), {"version": version.own(), "joins": True})
    assert "chunk_store" in answer[REFUSED]


async def test_who_only_asks_the_store_gets_no_secret(tmp_path):
    assert await welcome(settings(data_dir=tmp_path), {"version": version.own()}) == {}


async def test_a_node_of_an_id_that_lives_is_told_from_one_that_comes_back(tmp_path):
    head = settings(data_dir=tmp_path)
    layout = Layout(tmp_path)
    layout.prepare()
    path = store_socket(head, layout.node_id())
    record = NodeRecord(
        node_id="n-2", ray_node_id="r1", address="10.0.0.2", version="1", joined_at=1.0
    )
    async with opened_engine("lmdb_faulty", tmp_path) as engine:
        await NodeStore(engine, head.tenant).join(record)
        server = StoreServer(engine, path)
        await server.open()
        try:
            found = [
                await _is_alive(head, node_id, partial(list, [{"Alive": alive, "NodeID": "r1"}]))
                for node_id, alive in (("n-2", True), ("n-2", False), ("n-3", True))
            ]
        finally:
            await server.close()
    assert found == [True, False, False]


def test_what_a_node_keeps_for_itself_are_settings():
    assert set(settings().model_dump()) >= NODES_OWN


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("node_address", "8.8.8.8"),
        ("node_address", "0.0.0.0"),
        ("node_address", "node-1"),
        ("node_labels", "zone"),
        ("node_labels", "zone=a b"),
        ("head", "10.0.0.1"),
        ("head", "10.0.0.1:99999"),
    ],
)
def test_a_node_is_told_what_is_wrong_with_its_settings(name, value):
    with pytest.raises(InvalidArgument) as caught:
        settings(**{name: value})
    assert caught.value.field == name


def test_a_file_that_is_no_token_is_refused_by_name(tmp_path):
    other = tmp_path / "token"
    for text in (None, "", "-----BEGIN PRIVATE KEY-----\n"):
        if text is not None:
            other.write_text(text)
        with pytest.raises(InvalidArgument, match="token file"):
            credentials.read_token(other)
