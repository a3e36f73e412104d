"""``coditect doctor``'s findings on FoundationDB."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cluster import settings
from cluster.doctor import fdb_probe
from tests.fakes.engines import CLUSTER_VARIABLE
from tests.support.fdb_process import FdbProcess


def chosen(cluster_file: str | Path, **more: str) -> settings.Settings:
    return settings.load(
        {"store": "foundationdb", "store_fdb_cluster_file": str(cluster_file), **more},
        environment={},
        directory=Path.cwd(),
    )


def test_a_missing_cluster_file_is_reported(tmp_path):
    assert "absent.cluster" in (fdb_probe.failure(chosen(tmp_path / "absent.cluster")) or "")


def test_a_client_that_is_missing_or_a_cluster_that_does_not_answer_is_reported(tmp_path):
    (tmp_path / "fdb.cluster").write_text("test:test@127.0.0.1:1\n")
    said = fdb_probe.failure(chosen(tmp_path / "fdb.cluster"))
    assert said is not None
    assert "store is unavailable" in said


def test_what_takes_too_long_is_given_up(tmp_path):
    assert fdb_probe.failure(chosen(tmp_path / "fdb.cluster"), 0.0) == "no answer within 0 s"


@pytest.mark.fdb
def test_a_cluster_that_answers_is_well():
    named = os.environ.get(CLUSTER_VARIABLE)
    if not named:
        pytest.skip(f"{CLUSTER_VARIABLE} does not name a FoundationDB cluster file")
    assert fdb_probe.failure(chosen(named)) is None


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of its own authority, for somebody called ``test``, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not on the PATH")
    made, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    arguments = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    subprocess.run(
        ["openssl", "req", "-x509", *arguments, "-keyout", str(key), "-out", str(made)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return made, key


@pytest.mark.fdb
def test_tls_lets_in_who_has_the_certificate_and_only_trusts_who_is_named(tmp_path, certificate):
    made, key = certificate
    server = FdbProcess(tmp_path, certificate=made, key=key)
    tls = {
        "store_fdb_tls_certificate": str(made),
        "store_fdb_tls_key": str(key),
        "store_fdb_tls_ca": str(made),
    }

    def failure(**more: str) -> str | None:
        return fdb_probe.failure(chosen(server.cluster_file, **more))

    try:
        server.create()
        assert failure(**tls, store_fdb_tls_verify_peers="S.CN=test") is None
        assert "does not answer" in (failure(**tls, store_fdb_tls_verify_peers="S.CN=other") or "")
        assert "does not answer" in (failure() or "")
    finally:
        server.kill()
