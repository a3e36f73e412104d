"""The data directory: made, locked, described, and kept short where sockets need it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.core.errors.base import Unavailable
from cluster.bringup.environment import Ports, environment
from cluster.bringup.head import free_ports
from cluster.layout import DataDirLock, Layout, ServerFile, own_server_file
from cluster.settings import load

PORTS = Ports(*range(1, 11), replicas=100)


def test_a_second_lock_names_the_holder(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    lock = DataDirLock(layout)
    lock.acquire()
    with pytest.raises(Unavailable, match=str(os.getpid())):
        DataDirLock(layout).acquire()
    lock.release()
    DataDirLock(layout).acquire()


def test_a_file_in_place_of_the_data_directory_is_reported(tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(Unavailable, match="data"):
        Layout(tmp_path / "data").prepare()


def test_socket_paths_fit_even_for_a_deep_data_directory(tmp_path):
    layout = Layout(tmp_path / ("d" * 200) / ("e" * 200))
    # 56 characters of node id and the socket's name follow (HAProxy: at most 97 in all).
    assert len(str(layout.ray_dir / ("n" * 56) / "admin.sock")) <= 97


def test_a_server_file_of_a_dead_or_recycled_process_is_no_server(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    mine = own_server_file(1.0)
    layout.write_server(mine)
    assert layout.read_server() == mine
    layout.write_server(ServerFile(mine.pid, mine.start_ticks + 1, mine.boot_id, 1.0))
    assert layout.read_server() is None
    layout.server_file.write_text("not json")
    assert layout.read_server() is None


def test_the_node_id_lasts(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    assert layout.node_id() == Layout(tmp_path).node_id()


def test_a_lasting_token_that_was_cut_short_is_made_again(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    layout.new_token(lasts=True)
    kept = tmp_path / "cluster" / "ray-token"
    first = kept.read_text()
    layout.new_token(lasts=True)
    assert layout.token_file.read_text() == kept.read_text() == first
    kept.write_text("")
    layout.new_token(lasts=True)
    assert layout.token_file.read_text() == kept.read_text() != ""
    assert kept.stat().st_mode & 0o077 == 0


def test_two_servers_share_no_path_and_no_port(tmp_path):
    one, two = (
        environment(
            load({}, environment={}, directory=tmp_path),
            Layout(tmp_path / name),
            free_ports("127.0.0.2"),
            packages=Path("/p"),
            open_files=20_000,
        )
        for name in ("one", "two")
    )
    shared = {name for name, value in one.items() if two[name] == value}
    own = ("PORT", "SOCKET", "STATE", "TOKEN_PATH", "FILE_LOC", "BINARY_PATH", "storage_path")
    assert not {name for name in shared if any(part in name for part in own)} - {
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
    }


def test_haproxy_gets_no_more_connections_than_it_may_open(tmp_path):
    settings = load({}, environment={}, directory=tmp_path)
    reported = environment(settings, Layout(tmp_path), PORTS, packages=Path("/p"), open_files=4096)
    assert int(reported["RAY_SERVE_HAPROXY_MAXCONN"]) * 2 + 100 < 4096
