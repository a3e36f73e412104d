"""What the server's processes are told through the environment."""

from __future__ import annotations

from pathlib import Path

from cluster.bringup.environment import Ports, environment
from cluster.bringup.layout import Layout
from cluster.settings import Settings

PORTS = Ports(*range(9001, 9010))


def told(tmp_path: Path, **settings: object) -> dict[str, str]:
    made = Settings(data_dir=tmp_path, **settings)
    return environment(made, Layout(tmp_path), PORTS, packages=tmp_path, open_files=4096)


def test_serve_keeps_every_file_of_its_own_below_the_data_directory(tmp_path):
    variables = told(tmp_path)
    paths = [value for name, value in variables.items() if "HAPROXY" in name and "/" in value]
    assert len(paths) == 6
    assert all(str(Layout(tmp_path).ray_dir) in path for path in paths)
