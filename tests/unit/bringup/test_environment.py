"""The environment of the server's processes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cluster.bringup.environment import REPLICA_PORTS, Ports, connections, environment
from cluster.layout import Layout
from cluster.settings import Settings

PORTS = Ports(*range(9001, 9012))


def reported(tmp_path: Path, **settings: object) -> dict[str, str]:
    made = Settings(data_dir=tmp_path, **settings)
    return environment(made, Layout(tmp_path), PORTS, packages=tmp_path / "lib", open_files=4096)


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("RAY_SERVE_HAPROXY_CONFIG_FILE_LOC", "haproxy.cfg"),
        ("RAY_SERVE_HAPROXY_SOCKET_PATH", "admin.sock"),
        ("RAY_SERVE_HAPROXY_SERVER_STATE_BASE", ""),
        ("RAY_SERVE_HAPROXY_SERVER_STATE_FILE", "server-state"),
        ("RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH", "metrics.sock"),
    ],
)
def test_serve_keeps_every_file_of_its_own_in_this_servers_directory(tmp_path, variable, name):
    assert reported(tmp_path)[variable] == str(Layout(tmp_path).ray_dir / name)


def test_no_path_that_serve_is_reported_lies_elsewhere(tmp_path):
    """As the directory beside all temporary files that its defaults share between servers."""
    layout = Layout(tmp_path)
    own = (str(layout.ray_dir), str(tmp_path))
    variables = reported(tmp_path)
    paths = {name: value for name, value in variables.items() if value.startswith("/")}
    assert {name for name, value in paths.items() if not value.startswith(own)} == set()
    assert paths["RAY_SERVE_HAPROXY_BINARY_PATH"] == str(layout.haproxy)
    assert paths["RAY_gcs_storage_path"] == str(layout.gcs_dir)
    assert paths["RAY_AUTH_TOKEN_PATH"] == str(layout.token_file)
    assert paths["PYTHONPATH"] == str(tmp_path / "lib")


def test_every_port_of_serve_is_one_that_was_found_free_and_none_is_used_twice(tmp_path):
    variables = reported(tmp_path)
    ports = {name: int(value) for name, value in variables.items() if name.endswith("_PORT")}
    ranges = {name: ports.pop(name) for name in list(ports) if "DIRECT_INGRESS" in name}
    found = dataclasses.asdict(PORTS)
    assert sorted(ports.values()) == sorted(
        found[name]
        for name in ("haproxy_metrics", "haproxy_stats", "fallback_http", "fallback_grpc")
    )
    bounds = [
        ranges[f"RAY_SERVE_DIRECT_INGRESS_{bound}_{kind}_PORT"]
        for kind in ("HTTP", "GRPC")
        for bound in ("MIN", "MAX")
    ]
    assert bounds == sorted(set(bounds))  # the one ends before the other begins
    assert (bounds[0], bounds[-1]) == (PORTS.replicas, PORTS.replicas + REPLICA_PORTS - 1)


@pytest.mark.parametrize(
    ("address", "ray_address", "network"),
    [
        ("127.0.0.1", "127.0.0.1", "0"),
        ("127.0.0.2", "127.0.0.1", "0"),
        ("10.1.2.3", "10.1.2.3", "1"),
    ],
)
def test_ray_listens_on_the_loopback_alone_where_the_machine_is_by_itself(
    tmp_path, address, ray_address, network
):
    variables = reported(tmp_path, node_address=address)
    assert variables["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == network
    assert variables["FORWARDED_ALLOW_IPS"] == f"127.0.0.1,{ray_address}"


def test_strangers_on_the_machine_are_kept_out_and_nothing_is_sent_home(tmp_path):
    variables = reported(tmp_path)
    assert variables["RAY_AUTH_MODE"] == "token"
    assert variables["RAY_USAGE_STATS_ENABLED"] == "0"


def test_the_administrators_password_is_not_given_to_every_process(tmp_path):
    variables = reported(tmp_path, admin_email="boss@example.com", admin_password="pass-1234")
    assert not [value for value in variables.values() if "pass-1234" in value]


@pytest.mark.parametrize(
    ("open_files", "expected"),
    [(256, 500), (2250, 500), (4096, 1238), (20_000, 7600), (51_000, 20_000), (1 << 20, 20_000)],
)
def test_haproxy_takes_as_many_connections_as_it_has_two_descriptors_for(open_files, expected):
    assert connections(open_files) == expected


def test_haproxy_is_reported_that_number(tmp_path):
    assert reported(tmp_path)["RAY_SERVE_HAPROXY_MAXCONN"] == str(connections(4096))
