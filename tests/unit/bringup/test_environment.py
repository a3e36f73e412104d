"""What the server's processes are told through the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from cluster.bringup.environment import Ports, environment
from cluster.bringup.layout import Layout
from cluster.settings import Settings

PORTS = Ports(*range(9001, 9010))


def told(tmp_path: Path, **settings: object) -> dict[str, str]:
    made = Settings(data_dir=tmp_path, **settings)
    return environment(made, Layout(tmp_path), PORTS, packages=tmp_path, open_files=4096)


@pytest.mark.parametrize(
    ("public_url", "address"),
    [(None, "127.0.0.1"), ("https://workspaces.example.com", "203.0.113.7")],
)
async def test_a_client_says_where_it_comes_from_only_through_a_proxy_in_front(
    tmp_path, monkeypatch, public_url, address
):
    monkeypatch.setenv(
        "FORWARDED_ALLOW_IPS", told(tmp_path, public_url=public_url)["FORWARDED_ALLOW_IPS"]
    )
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)

    trusted = uvicorn.Config(app).forwarded_allow_ips
    scope = {
        "type": "http",
        "client": ("127.0.0.1", 1),
        "headers": [(b"x-forwarded-for", b"203.0.113.7")],
    }
    await ProxyHeadersMiddleware(app, trusted)(scope, None, None)
    assert seen["client"][0] == address


def test_serve_keeps_every_file_of_its_own_below_the_data_directory(tmp_path):
    variables = told(tmp_path)
    paths = [value for name, value in variables.items() if "HAPROXY" in name and "/" in value]
    assert len(paths) == 4
    assert all(str(Layout(tmp_path).ray_dir) in path for path in paths)
