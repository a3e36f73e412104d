"""Secrets among the settings: not passed on, read where they are needed."""

from __future__ import annotations

import pickle

from pydantic import SecretStr

from cluster import secret_settings
from cluster.settings import SECRETS, Settings, forget_secrets
from cluster.wiring.node import NodeWiring

PASSWORD = "correct horse battery staple"


def settings(tmp_path) -> Settings:
    (tmp_path / "run").mkdir()
    return Settings(
        data_dir=tmp_path,
        admin_password=SecretStr(PASSWORD),
        store_fdb_tls_key_password=SecretStr(PASSWORD),
        store_fdb_backup_url=f"blobstore://key:{PASSWORD}@host/{{id}}",
    )


def test_what_actors_are_given_holds_no_secret(tmp_path):
    given = settings(tmp_path)
    assert PASSWORD.encode() in pickle.dumps(NodeWiring(given, "n-1"))
    assert PASSWORD.encode() not in pickle.dumps(NodeWiring(secret_settings.without(given), "n-1"))


def test_who_needs_a_secret_reads_it_and_the_administrators_password_is_not_there(tmp_path):
    given = settings(tmp_path)
    secret_settings.keep(given)
    secret_settings.keep(given)
    file = tmp_path / "run" / "secrets.json"
    assert file.stat().st_mode & 0o777 == 0o600
    found = secret_settings.complete(secret_settings.without(given))
    assert found.store_fdb_tls_key_password == given.store_fdb_tls_key_password
    assert found.store_fdb_backup_url == given.store_fdb_backup_url
    assert found.admin_password is None


def test_without_the_file_the_settings_are_as_they_were(tmp_path):
    given = settings(tmp_path)
    assert secret_settings.complete(given) is given


def test_children_do_not_inherit_secrets():
    environment = {f"CODITECT_{name.upper()}": PASSWORD for name in SECRETS} | {"PATH": "/bin"}
    forget_secrets(environment)
    assert environment == {"PATH": "/bin"}


def test_every_setting_that_holds_a_secret_is_known():
    secret = {n for n, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}
    assert secret <= SECRETS
