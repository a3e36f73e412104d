"""Settings name themselves, what is allowed, and where they were set."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.core.errors.requests import InvalidArgument
from cluster import settings

ROOT = Path(__file__).resolve().parents[2]


def test_options_beat_the_environment_which_beats_the_file(tmp_path):
    (tmp_path / "coditect.toml").write_text("port = 1\npool_size = 7\nhost = '10.0.0.1'\n")
    loaded = settings.load(
        {"port": 3},
        environment={"CODITECT_PORT": "2", "CODITECT_POOL_SIZE": "8"},
        directory=tmp_path,
    )
    assert (loaded.port, loaded.pool_size, loaded.host) == (3, 8, "10.0.0.1")


@pytest.mark.parametrize(
    ("options", "environment", "file", "expected"),
    [
        ({"port": 70000}, {}, "", ["port", "65535", "70000", "--port"]),
        ({}, {"CODITECT_POOL_SIZE": "many"}, "", ["pool_size", "integer", "CODITECT_POOL_SIZE"]),
        ({}, {}, "\n\nstore = 'mysql'\n", ["store", "embedded", "foundationdb", "coditect.toml:3"]),
        ({}, {"CODITECT_POOLSIZE": "1"}, "", ["poolsize", "pool_size", "CODITECT_POOLSIZE"]),
        ({"runtime": "cloud_run"}, {}, "", ["cloud_run_places", "runtime cloud_run needs it"]),
        ({}, {"CODITECT_CLOUD_RUN_PLACES": "a"}, "", ["cloud_run_places", "PROJECT/REGION"]),
        ({}, {"CODITECT_RUNTIME": "stub"}, "", ["stub", "sandbox", "CODITECT_RUNTIME"]),
        ({}, {}, "prot = 1\n", ["prot", "did you mean port", "coditect.toml:1"]),
        ({}, {}, "port = \n", ["coditect.toml"]),
        ({}, {"CODITECT_CONFIG": "/nowhere.toml"}, "", ["CODITECT_CONFIG", "/nowhere.toml"]),
    ],
)
def test_a_wrong_value_is_reported_with_its_place(tmp_path, options, environment, file, expected):
    (tmp_path / "coditect.toml").write_text(file)
    with pytest.raises(InvalidArgument) as refused:
        settings.load(options, environment=environment, directory=tmp_path)
    for part in expected:
        assert part in str(refused.value)


def test_a_wrong_password_setting_is_not_shown(tmp_path):
    with pytest.raises(InvalidArgument) as refused:
        settings.load({"admin_password": 12345}, environment={}, directory=tmp_path)
    assert "12345" not in str(refused.value)


def test_backups_in_a_bucket_need_urls_of_their_own(tmp_path):
    def load(url):
        options = {"store_fdb_backup_url": url}
        return settings.load(options, environment={}, directory=tmp_path).store_fdb_backup_url

    for url in ("blobstore://key:hidden@host/c-{id}?bucket=b", "file:///place"):
        assert load(url) == url
    with pytest.raises(InvalidArgument, match=r"store_fdb_backup_url.*\{id\}") as refused:
        load("blobstore://key:hidden@host/c?bucket=b")
    assert "hidden" not in str(refused.value)


def test_the_readme_has_the_table_of_all_settings():
    readme = (ROOT / "README.md").read_text()
    shown = readme.split("<!-- settings -->")[1].split("<!-- /settings -->")[0].strip()
    for line in shown.splitlines()[2:]:
        name = line.split("`")[1]
        assert name in settings.Settings.model_fields, name
        assert line in settings.table().splitlines(), line
